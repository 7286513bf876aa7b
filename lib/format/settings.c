#include "format/settings.h"

#include <string.h>

#include "format/limit.h"
#include "qspool.h"

enum { SETTING_LEN_MAX = 1023 };

void settings_init(struct settings *settings)
{
	settings->jobs = settings->weight = 0;
	meta_init(&settings->options);
}

void settings_release(struct settings *settings)
{
	meta_release(&settings->options);
	settings_init(settings);
}

/* NULL, or what is wrong with it. */
static const char *set_number(unsigned *to, const char *value, unsigned max)
{
	if (*to != 0)
		return "repeated option";
	return limit_number_parse(value, 1, max, to) == 0 ? NULL : "wrong value";
}

static const char *set(struct settings *settings, const char *key, const char *value)
{
	if (strcmp(key, "jobs") == 0)
		return set_number(&settings->jobs, value, WORK_JOBS_MAX);
	if (strcmp(key, "weight") == 0)
		return set_number(&settings->weight, value, WORK_WEIGHT_MAX);
	return meta_set(&settings->options, key, value);
}

static const char *parse_setting(void *settings, const char *line, size_t len)
{
	char key[SETTING_LEN_MAX + 1], *value;

	if (line[0] == '#')
		return NULL;
	if (len >= sizeof key)
		return "line too long";
	if (memchr(line, '\0', len))
		return "NUL byte";
	memcpy(key, line, len);
	key[len] = '\0';
	value = key + strcspn(key, BLANKS);
	if (*value)
		*value++ = '\0';
	value += strspn(value, BLANKS);
	return set(settings, key, value);
}

void settings_parse(
    const char *text, size_t len, struct settings *settings, line_wrong *wrong, void *arg)
{
	lines_parse(text, len, parse_setting, settings, wrong, arg);
}
