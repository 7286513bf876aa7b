#include "format/answer.h"

#include <string.h>

#include "format/lines.h"

enum { STATUS_MAX = 255, STATUS_DIGITS = 3 };

int answer_parse(const char *line, const char **text)
{
	size_t digits = strspn(line, "0123456789");
	int status = 0;

	if (digits == 0 || digits > STATUS_DIGITS || (line[digits] && !is_blank(line[digits])))
		return -1;
	for (size_t i = 0; i < digits; i++)
		status = status * 10 + (line[i] - '0');
	*text = line + digits + strspn(line + digits, BLANKS);
	return status <= STATUS_MAX ? status : -1;
}
