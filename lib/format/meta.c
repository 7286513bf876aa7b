#include "format/meta.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>

#include "format/crc32c.h"
#include "format/name.h"
#include "format/room.h"
#include "format/size.h"
#include "format/value.h"
#include "format/when.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

enum { HEADER_NAME_MAX = 64 };

static const char first_line[] = "qspool 1\n";
static const char end_form[] = "end %08" PRIx32 "\n";
enum { END_LEN = 4 + 8 + 1 };

static const char why_memory[] = "out of memory";
static const char why_value[] = "wrong value";
static const char why_repeated[] = "repeated option";
static const char why_unknown[] = "unknown option";
static const char why_nul[] = "NUL byte";

void meta_init(struct meta *meta)
{
	*meta = (struct meta){0};
}

void meta_release(struct meta *meta)
{
	free(meta->name);
	free(meta->key);
	free(meta->batch);
	free(meta->relay);
	strings_release(&meta->after);
	for (size_t i = 0; i < meta->resources; i++)
		free(meta->resource[i].name);
	free(meta->resource);
	strings_release(&meta->args);
	strings_release(&meta->env);
	strings_release(&meta->headers);
	meta_init(meta);
}

bool meta_empty(const struct meta *meta)
{
	return !meta->has_attempts && !meta->has_backoff && !meta->has_timeout &&
	    !meta->has_memory && !meta->has_cpu && !meta->has_nice && !meta->has_expires &&
	    !meta->has_keep && !meta->name && !meta->key && !meta->batch && !meta->relay &&
	    meta->after.count == 0 && meta->resources == 0 && meta->args.count == 0 &&
	    meta->env.count == 0 && meta->headers.count == 0;
}

bool meta_is_kept(const struct meta *meta)
{
	return meta->has_keep || meta->relay;
}

/* Where NAME stands among the resources or, if *THERE is false, belongs. */
static size_t resource_place(const struct meta *meta, const char *name, bool *there)
{
	size_t first = 0, end = meta->resources;

	*there = false;
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		int order = strcmp(meta->resource[middle].name, name);

		if (order == 0)
			*there = true;
		if (order < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

static int insert_resource(struct meta *meta, size_t at, const char *name, unsigned jobs)
{
	struct meta_resource *item =
	    with_room(meta->resource, meta->resources, sizeof *meta->resource);
	char *copy = strdup(name);

	if (item)
		meta->resource = item;
	if (!item || !copy) {
		free(copy);
		return -1;
	}
	memmove(&item[at + 1], &item[at], (meta->resources++ - at) * sizeof *item);
	item[at].name = copy;
	item[at].jobs = jobs;
	return 0;
}

int meta_add_resource(struct meta *meta, const char *name, unsigned jobs)
{
	bool there;
	size_t at = resource_place(meta, name, &there);

	if (!*name || jobs > RESOURCE_JOBS_MAX || there) {
		errno = there ? EEXIST : EINVAL;
		return -1;
	}
	if (meta->resources >= RESOURCES_MAX) {
		errno = E2BIG;
		return -1;
	}
	return insert_resource(meta, at, name, jobs);
}

static int put_encoded(FILE *out, const char *key, const char *value)
{
	char *text = value_encode(value);

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

static void put_duration(FILE *out, const char *key, int64_t ms)
{
	char text[WHEN_SIZE];

	duration_format(ms, text);
	fprintf(out, "%s %s\n", key, text);
}

static void put_limits(FILE *out, const struct meta *meta)
{
	char text[SIZE_TEXT];

	if (meta->has_memory) {
		size_format(meta->memory, text);
		fprintf(out, "memory %s\n", text);
	}
	if (meta->has_cpu)
		put_duration(out, "cpu", meta->cpu_ms);
	if (meta->has_nice)
		fprintf(out, "nice %u\n", meta->nice);
}

static void put_times(FILE *out, const struct meta *meta)
{
	char text[BACKOFF_SIZE];

	if (meta->has_attempts)
		fprintf(out, "attempts %u\n", meta->attempts);
	if (meta->has_backoff) {
		backoff_format(&meta->backoff, text);
		fprintf(out, "backoff %s\n", text);
	}
	if (meta->has_timeout)
		put_duration(out, "timeout", meta->timeout_ms);
	put_limits(out, meta);
	if (meta->has_expires) {
		when_rfc3339(meta->expires_ms, text);
		fprintf(out, "expires %s\n", text);
	}
	if (meta->has_keep)
		put_duration(out, "keep", meta->keep_ms);
}

/* LIMIT and VALUE stand behind the key. */
static int put_resources(FILE *out, const struct meta *meta)
{
	for (size_t i = 0; i < meta->resources; i++) {
		unsigned jobs = meta->resource[i].jobs;
		char key[32] = "resource -";

		if (jobs > 0)
			snprintf(key, sizeof key, "resource %u", jobs);
		if (put_encoded(out, key, meta->resource[i].name) == -1)
			return -1;
	}
	return 0;
}

/* What ties the job to others. */
static int put_ties(FILE *out, const struct meta *meta)
{
	if (meta->key && put_encoded(out, "key", meta->key) == -1)
		return -1;
	if (meta->key && meta->key_until_start)
		fputs("key-until start\n", out);
	if (meta->batch && put_encoded(out, "batch", meta->batch) == -1)
		return -1;
	return put_list(out, "after", &meta->after) == -1 ? -1 : put_resources(out, meta);
}

static int put_options(FILE *out, const struct meta *meta)
{
	put_times(out, meta);
	if (meta->name && put_encoded(out, "name", meta->name) == -1)
		return -1;
	if (put_ties(out, meta) == -1)
		return -1;
	if (meta->relay && put_encoded(out, "relay", meta->relay) == -1)
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

/* All of it digits. */
static bool number_parse(const char *text, unsigned min, unsigned max, unsigned *number)
{
	const char *error;

	*number = (unsigned)strtonum(text, min, max, &error);
	return strspn(text, DIGITS) == strlen(text) && !error;
}

/* The setters return NULL, or why not. */
static const char *set_attempts(struct meta *meta, const char *value)
{
	if (meta->has_attempts)
		return why_repeated;
	meta->has_attempts = number_parse(value, 1, JOB_ATTEMPTS_MAX, &meta->attempts);
	return meta->has_attempts ? NULL : why_value;
}

static const char *set_backoff(struct meta *meta, const char *value)
{
	if (meta->has_backoff)
		return why_repeated;
	meta->has_backoff = backoff_parse(value, &meta->backoff) == 0;
	return meta->has_backoff ? NULL : why_value;
}

static const char *set_duration(bool *has, int64_t *ms, const char *value)
{
	if (*has)
		return why_repeated;
	*has = duration_parse(value, ms) == 0 && *ms > 0;
	return *has ? NULL : why_value;
}

static const char *set_timeout(struct meta *meta, const char *value)
{
	return set_duration(&meta->has_timeout, &meta->timeout_ms, value);
}

static const char *set_memory(struct meta *meta, const char *value)
{
	if (meta->has_memory)
		return why_repeated;
	meta->has_memory = size_parse(value, &meta->memory) == 0 && meta->memory >= MEMORY_MIN;
	return meta->has_memory ? NULL : why_value;
}

static const char *set_cpu(struct meta *meta, const char *value)
{
	return set_duration(&meta->has_cpu, &meta->cpu_ms, value);
}

static const char *set_nice(struct meta *meta, const char *value)
{
	if (meta->has_nice)
		return why_repeated;
	meta->has_nice = number_parse(value, 0, NICE_MAX, &meta->nice);
	return meta->has_nice ? NULL : why_value;
}

static const char *set_keep(struct meta *meta, const char *value)
{
	return set_duration(&meta->has_keep, &meta->keep_ms, value);
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

/* *TEXT is then malloc'd. */
static const char *decode(const char *value, char **text)
{
	if (value_decode(value, text) == 0)
		return NULL;
	return errno == ENOMEM ? why_memory : why_value;
}

static const char *decode_filled(const char *value, char **text)
{
	const char *why = decode(value, text);

	if (why || **text)
		return why;
	free(*text);
	*text = NULL;
	return why_value;
}

static const char *set_text(char **text, const char *value)
{
	return *text ? why_repeated : decode_filled(value, text);
}

static const char *set_name(struct meta *meta, const char *value)
{
	return set_text(&meta->name, value);
}

static const char *set_key(struct meta *meta, const char *value)
{
	return set_text(&meta->key, value);
}

/* Whether there is a key turns out at the end: the lines may stand in any order. */
static const char *set_key_until(struct meta *meta, const char *value)
{
	if (meta->key_until_start)
		return why_repeated;
	meta->key_until_start = strcmp(value, "start") == 0;
	return meta->key_until_start ? NULL : why_value;
}

static const char *set_batch(struct meta *meta, const char *value)
{
	return set_text(&meta->batch, value);
}

static const char *set_relay(struct meta *meta, const char *value)
{
	return set_text(&meta->relay, value);
}

/* Only the one order in which they are written. */
static const char *append_resource(struct meta *meta, const char *name, unsigned jobs)
{
	bool there;
	size_t at = resource_place(meta, name, &there);

	if (there)
		return why_repeated;
	if (at < meta->resources)
		return "resources out of order";
	if (meta->resources >= RESOURCES_MAX)
		return "too many resources";
	return insert_resource(meta, at, name, jobs) == 0 ? NULL : why_memory;
}

static const char *add_resource(struct meta *meta, const char *value)
{
	char limit[sizeof "1000000"], *name;
	size_t len = strcspn(value, " ");
	unsigned jobs = 0;
	const char *why;

	if (len >= sizeof limit || value[len] == '\0')
		return why_value;
	memcpy(limit, value, len);
	limit[len] = '\0';
	if (strcmp(limit, "-") != 0 && !number_parse(limit, 1, RESOURCE_JOBS_MAX, &jobs))
		return why_value;
	why = decode_filled(value + len + 1, &name);
	if (why)
		return why;
	why = append_resource(meta, name, jobs);
	free(name);
	return why;
}

static bool is_filled(const char *text)
{
	return *text != '\0';
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

static const char *add_after(struct meta *meta, const char *value)
{
	return add_decoded(&meta->after, value, is_filled);
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
    {"memory", set_memory, true},
    {"cpu", set_cpu, true},
    {"nice", set_nice, true},
    {"expires", set_expires, false},
    {"keep", set_keep, false},
    {"name", set_name, false},
    {"key", set_key, false},
    {"key-until", set_key_until, false},
    {"batch", set_batch, false},
    {"after", add_after, false},
    {"resource", add_resource, false},
    {"relay", set_relay, false},
    {"arg", add_arg, true},
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
	if (!why && meta->key_until_start && !meta->key)
		why = "key-until without key";
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

const char *meta_set(struct meta *meta, const char *key, const char *value)
{
	const struct option *option = option_find(key);

	if (!option)
		return why_unknown;
	return option->setting ? option->set(meta, value) : "not an option of a queue";
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
