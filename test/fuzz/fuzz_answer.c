/* What a handler that stays answers. */
#include "fuzz.h"

#include "format/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = fuzz_text(data, size), *end;
	const char *text = NULL;
	int status = answer_parse(line, &text);

	if (status < 0) {
		MUST(status == -1);
	} else {
		MUST(status <= 255 && strtol(line, &end, 10) == status);
		MUST(text >= end && text <= line + strlen(line));
		MUST(text == end || *text == '\0' || text[0] != ' ');
		MUST(text != end || *text == '\0');
	}
	free(line);
	return 0;
}
