#include "format/meta.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBBSD_NETBSD_VIS /* unused here, but libbsd wants to be told which strnvis() */
#include <bsd/stdlib.h>
#include <bsd/vis.h>

#include "format/crc32c.h"
#include "format/name.h"
#include "format/when.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define BLANKS " \t\r"

enum { HEADER_NAME_MAX = 64, SETTING_LEN_MAX = 255 };

static const char first_line[] = "qspool 1\n";
static const char end_form[] = "end %08" PRIx32 "\n";
enum { END_LEN = 4 + 8 + 1 };

static const char why_memory[] = "out of memory";
static const char why_value[] = "wrong value";
static const char why_repeated[] = "repeated option";
static const char why_unknown[] = "unknown option";
static const char why_nul[] = "NUL byte";

/* Room for COUNT + 1 and the NULL: it doubles whenever COUNT + 1 is a power of two. */
static int make_room(struct strings *list)
{
	size_t next = list->count + 1;
	char **item;

	if ((next & list->count) != 0)
		return 0;
	item = reallocarray(list->item, next, 2 * sizeof *item);
	if (!item)
		return -1;
	list->item = item;
	return 0;
}

int strings_add(struct strings *list, const char *text)
{
	char *copy = strdup(text);

	if (!copy || make_room(list) != 0) {
		free(copy);
		return -1;
	}
	list->item[list->count] = copy;
	list->item[++list->count] = NULL;
	return 0;
}

void strings_release(struct strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct strings){0};
}

void meta_init(struct meta *meta)
{
	*meta = (struct meta){0};
}

void meta_release(struct meta *meta)
{
	free(meta->name);
	strings_release(&meta->args);
	strings_release(&meta->env);
	strings_release(&meta->headers);
	meta_init(meta);
}

bool meta_empty(const struct meta *meta)
{
	return !meta->has_attempts && !meta->has_backoff && !meta->has_timeout &&
	    !meta->has_expires && !meta->name && meta->args.count == 0 && meta->env.count == 0 &&
	    meta->headers.count == 0;
}

/* A malloc'd string, or NULL. */
static char *encode(const char *value)
{
	size_t len = strlen(value);
	char *text = reallocarray(NULL, len + 1, 4);

	if (!text)
		return NULL;
	if (strvisx(text, value, len, VIS_CSTYLE | VIS_NL | VIS_TAB | VIS_NOLOCALE) == -1) {
		free(text);
		return NULL;
	}
	return text;
}

/* NULL and *VALUE malloc'd, or why not. */
static const char *decode(const char *text, char **value)
{
	char *decoded = malloc(strlen(text) + 1);
	int len;

	if (!decoded)
		return why_memory;
	len = strunvis(decoded, text);
	if (len < 0 || strlen(decoded) != (size_t)len) {
		free(decoded);
		return why_value;
	}
	*value = decoded;
	return NULL;
}

static int put_encoded(FILE *out, const char *key, const char *value)
{
	char *text = encode(value);

	if (!text)
		return -1;
	fprintf(out, "%s %s\n", key, text);
	free(text);
	return 0;
}

static int put_list(FILE *out, const char *key, const struct strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (put_encoded(out, key, list->item[i]) == -1)
			return -1;
	return 0;
}

static int put_options(FILE *out, const struct meta *meta)
{
	char text[BACKOFF_SIZE];

	if (meta->has_attempts)
		fprintf(out, "attempts %u\n", meta->attempts);
	if (meta->has_backoff) {
		backoff_format(&meta->backoff, text);
		fprintf(out, "backoff %s\n", text);
	}
	if (meta->has_timeout) {
		duration_format(meta->timeout_ms, text);
		fprintf(out, "timeout %s\n", text);
	}
	if (meta->has_expires) {
		when_rfc3339(meta->expires_ms, text);
		fprintf(out, "expires %s\n", text);
	}
	if (meta->name && put_encoded(out, "name", meta->name) == -1)
		return -1;
	if (put_list(out, "arg", &meta->args) == -1 || put_list(out, "env", &meta->env) == -1 ||
	    put_list(out, "header", &meta->headers) == -1)
		return -1;
	return 0;
}

char *meta_format(const struct meta *meta, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	bool failed;

	if (!out)
		return NULL;
	fputs(first_line, out);
	failed = put_options(out, meta) == -1 || fflush(out) == EOF;
	if (!failed)
		fprintf(out, end_form, crc32c(0, text, *len));
	failed |= ferror(out) != 0;
	/* A stream in memory fails for one reason only. */
	if (fclose(out) == EOF || failed) {
		free(text);
		errno = ENOMEM;
		return NULL;
	}
	return text;
}

/* The setters return NULL, or why not. */
static const char *set_attempts(struct meta *meta, const char *value)
{
	const char *error;

	if (meta->has_attempts)
		return why_repeated;
	meta->attempts = (unsigned)strtonum(value, 1, JOB_ATTEMPTS_MAX, &error);
	meta->has_attempts = strspn(value, DIGITS) == strlen(value) && !error;
	return meta->has_attempts ? NULL : why_value;
}

static const char *set_backoff(struct meta *meta, const char *value)
{
	if (meta->has_backoff)
		return why_repeated;
	meta->has_backoff = backoff_parse(value, &meta->backoff) == 0;
	return meta->has_backoff ? NULL : why_value;
}

static const char *set_timeout(struct meta *meta, const char *value)
{
	if (meta->has_timeout)
		return why_repeated;
	meta->has_timeout = duration_parse(value, &meta->timeout_ms) == 0 && meta->timeout_ms > 0;
	return meta->has_timeout ? NULL : why_value;
}

static const char *set_expires(struct meta *meta, const char *value)
{
	char again[WHEN_SIZE];

	if (meta->has_expires)
		return why_repeated;
	if (when_parse(value, 0, &meta->expires_ms) == -1)
		return why_value;
	/* Of all that people may write, "10:15" for one, a file has one form. */
	when_rfc3339(meta->expires_ms, again);
	meta->has_expires = strcmp(value, again) == 0;
	return meta->has_expires ? NULL : why_value;
}

static const char *set_name(struct meta *meta, const char *value)
{
	if (meta->name)
		return why_repeated;
	return *value ? decode(value, &meta->name) : why_value;
}

/* OK may be NULL. */
static const char *add_decoded(
    struct strings *list, const char *value, bool (*ok)(const char *text))
{
	char *text;
	const char *why = decode(value, &text);

	if (why)
		return why;
	if (ok && !ok(text))
		why = why_value;
	else if (strings_add(list, text) == -1)
		why = why_memory;
	free(text);
	return why;
}

static const char *add_arg(struct meta *meta, const char *value)
{
	return add_decoded(&meta->args, value, NULL);
}

static const char *add_env(struct meta *meta, const char *value)
{
	return add_decoded(&meta->env, value, env_ok);
}

static const char *add_header(struct meta *meta, const char *value)
{
	return add_decoded(&meta->headers, value, header_ok);
}

static const struct option {
	const char *key;
	const char *(*set)(struct meta *meta, const char *value);
	bool setting;
} options[] = {
    {"attempts", set_attempts, true},
    {"backoff", set_backoff, true},
    {"timeout", set_timeout, true},
    {"expires", set_expires, false},
    {"name", set_name, false},
    {"arg", add_arg, false},
    {"env", add_env, false},
    {"header", add_header, false},
};

static const struct option *option_find(const char *key)
{
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (strcmp(options[i].key, key) == 0)
			return &options[i];
	return NULL;
}

static const char *parse_line(char *line, struct meta *meta)
{
	const char *key = strsep(&line, " ");
	const struct option *option = option_find(key);

	if (!option)
		return why_unknown;
	return line ? option->set(meta, line) : why_value;
}

/* Whether the text is whole; LEN becomes the length of what the checksum covers. */
static const char *check_frame(const char *text, size_t *len)
{
	char end[END_LEN + 1];
	size_t first = sizeof first_line - 1;

	if (*len > META_SIZE_MAX)
		return "too long";
	if (*len < first + END_LEN)
		return "cut short";
	*len -= END_LEN;
	snprintf(end, sizeof end, end_form, crc32c(0, text, *len));
	if (memcmp(text + *len, end, END_LEN) != 0)
		return "cut short or damaged";
	if (memcmp(text, first_line, first) != 0)
		return "unknown version";
	return memchr(text, '\0', *len) ? why_nul : NULL;
}

static const char *parse_lines(char *text, struct meta *meta)
{
	const char *why = NULL;

	for (char *line; !why && *text;) {
		line = strsep(&text, "\n");
		if (!text)
			return "line without end";
		why = parse_line(line, meta);
	}
	return why;
}

int meta_parse(const char *text, size_t len, struct meta *meta, const char **why)
{
	const char *wrong = check_frame(text, &len);
	char *copy = NULL;

	if (!wrong) {
		copy = strndup(text, len);
		wrong = copy ? parse_lines(copy + sizeof first_line - 1, meta) : why_memory;
	}
	free(copy);
	if (!wrong)
		return 0;
	meta_release(meta);
	*why = wrong;
	errno = wrong == why_memory ? ENOMEM : EBADMSG;
	return -1;
}

/* LINE of LEN bytes, blanks around it taken off. */
static const char *parse_setting(const char *line, size_t len, struct meta *meta)
{
	char key[SETTING_LEN_MAX + 1], *value;
	const struct option *option;

	if (len == 0 || line[0] == '#')
		return NULL;
	if (len >= sizeof key)
		return "line too long";
	if (memchr(line, '\0', len))
		return why_nul;
	memcpy(key, line, len);
	key[len] = '\0';
	value = key + strcspn(key, BLANKS);
	if (*value)
		*value++ = '\0';
	value += strspn(value, BLANKS);
	option = option_find(key);
	if (!option)
		return why_unknown;
	return option->setting ? option->set(meta, value) : "not an option of a queue";
}

static bool is_blank(char c)
{
	return memchr(BLANKS, c, sizeof BLANKS - 1) != NULL;
}

void settings_parse(const char *text, size_t len, struct meta *meta,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg)
{
	const char *end = text + len;

	for (unsigned number = 1; text < end; number++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *last = newline ? newline : end;
		const char *next = newline ? newline + 1 : end;
		const char *why;

		while (text < last && is_blank(text[0]))
			text++;
		while (last > text && is_blank(last[-1]))
			last--;
		why = parse_setting(text, (size_t)(last - text), meta);
		if (why)
			wrong(arg, number, why);
		text = next;
	}
}

bool env_ok(const char *text)
{
	size_t len = strspn(text, LETTERS DIGITS "_");

	return len > 0 && text[len] == '=' && !strchr(DIGITS, text[0]) &&
	    strncmp(text, "QSPOOL=", 7) != 0 && strncmp(text, "QJOB_", 5) != 0;
}

static size_t header_name_len(const char *text)
{
	return strspn(text, LETTERS DIGITS "-_");
}

bool header_ok(const char *text)
{
	size_t len = header_name_len(text);

	return len > 0 && len <= HEADER_NAME_MAX && text[len] == ':';
}

char *header_to_env(const char *header)
{
	static const char prefix[] = "QJOB_HEADER_";
	size_t len = header_name_len(header);
	const char *value = header + len + 1 + strspn(header + len + 1, " \t");
	char *text;

	if (asprintf(&text, "%s%.*s=%s", prefix, (int)len, header, value) == -1)
		return NULL;
	for (char *c = text + sizeof prefix - 1; *c != '='; c++) {
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
		else if (*c == '-')
			*c = '_';
	}
	return text;
}
