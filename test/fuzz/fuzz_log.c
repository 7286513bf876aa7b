/* Values of log lines: whatever comes in, a line stays a line and the terminal is safe. */
#include "fuzz.h"

#include <bsd/vis.h>
#include <locale.h>
#include <sys/wait.h>

#include "format/logfmt.h"

static char *put(const char *value, size_t *len)
{
	char *line;
	FILE *out = open_memstream(&line, len);

	MUST(out);
	logfmt_put(out, "key", value);
	MUST(fclose(out) == 0);
	return line;
}

/* A reader of logfmt gets the value back. */
static void check_read_back(const char *line, const char *value)
{
	char *copy = strdup(line + strlen(" key="));
	char *decoded = malloc(strlen(line) + 1);
	size_t len;

	MUST(copy && decoded);
	len = strlen(copy);
	if (copy[0] != '"') {
		MUST(strcmp(copy, value) == 0);
	} else {
		MUST(len >= 2 && copy[len - 1] == '"');
		copy[len - 1] = '\0';
		for (const char *c = copy + 1; *c; c++) {
			MUST(*c != '"');
			if (*c == '\\')
				MUST(*++c);
		}
		MUST(strunvis(decoded, copy + 1) >= 0);
		MUST(strcmp(decoded, value) == 0);
	}
	free(copy);
	free(decoded);
}

static void check_value(const char *value, bool ascii)
{
	size_t len;
	char *line = put(value, &len);

	MUST(strlen(line) == len && strncmp(line, " key=", 5) == 0);
	for (const char *c = line; *c; c++) {
		unsigned char byte = (unsigned char)*c;

		MUST(byte >= ' ' && byte != 0x7f);
		MUST(!ascii || byte < 0x7f);
		/* C1 controls in UTF-8 */
		MUST(byte != 0xc2 || (unsigned char)c[1] >= 0xa0);
	}
	check_read_back(line, value);
	free(line);
}

static void check_status(int status)
{
	char *line;
	size_t len;
	FILE *out = open_memstream(&line, &len);

	MUST(out);
	logfmt_status(out, status);
	MUST(fclose(out) == 0);
	MUST(status >= 0 || len == 0);
	MUST(len == 0 || line[0] == ' ');
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *value = fuzz_text(data, size);

	setlocale(LC_CTYPE, "C");
	check_value(value, true);
	if (setlocale(LC_CTYPE, "C.UTF-8"))
		check_value(value, false);
	check_status((int)fuzz_number(data, size, 0));
	free(value);
	return 0;
}
