#include "format/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/lines.h"
#include "format/value.h"
#include "format/when.h"

static const char why_memory[] = "out of memory";

void control_init(struct control *control)
{
	*control = (struct control){0};
}

void control_release(struct control *control)
{
	strings_release(&control->notes);
	for (size_t i = 0; i < control->trips; i++)
		free(control->tripped[i].resource);
	control_init(control);
}

/* The verbs, and what they use, return NULL, or why not. */
static const char *parse_wait(const char *text, int64_t *ms)
{
	if (duration_parse(text, ms) != 0)
		return "not a duration";
	if (*ms > CONTROL_WAIT_MAX_MS)
		*ms = CONTROL_WAIT_MAX_MS;
	return NULL;
}

static const char *set_wait(
    struct control *control, enum control_verdict verdict, const char *value)
{
	int64_t ms;
	const char *why = parse_wait(value, &ms);

	if (why)
		return why;
	control->verdict = verdict;
	control->wait_ms = ms;
	control->reason[0] = '\0';
	return NULL;
}

static const char *set_retry_after(struct control *control, const char *value)
{
	return set_wait(control, CONTROL_RETRY_AFTER, value);
}

static const char *set_defer(struct control *control, const char *value)
{
	return set_wait(control, CONTROL_DEFER, value);
}

static const char *set_bury(struct control *control, const char *value)
{
	control->verdict = CONTROL_BURY;
	control->wait_ms = 0;
	memcpy(control->reason, value, strlen(value) + 1);
	return NULL;
}

static const char *set_progress(struct control *control, const char *value)
{
	memcpy(control->progress, value, strlen(value) + 1);
	return NULL;
}

static const char *add_note(struct control *control, const char *value)
{
	if (!*value)
		return "nothing to note";
	if (control->notes.count == CONTROL_NOTES_MAX)
		return "too many notes";
	return strings_add(&control->notes, value) == 0 ? NULL : why_memory;
}

/* Owns RESOURCE, whatever it returns. */
static const char *put_trip(struct control *control, char *resource, int64_t for_ms)
{
	size_t at = 0;

	while (at < control->trips && strcmp(control->tripped[at].resource, resource) != 0)
		at++;
	if (at == CONTROL_TRIPS_MAX) {
		free(resource);
		return "too many trips";
	}
	if (at == control->trips)
		control->trips++;
	else
		free(control->tripped[at].resource);
	control->tripped[at] = (struct control_trip){resource, for_ms};
	return NULL;
}

static const char *decode_resource(const char *value, size_t len, char **resource)
{
	char text[CONTROL_TEXT_MAX + 1];

	memcpy(text, value, len);
	text[len] = '\0';
	if (value_decode(text, resource) != 0)
		return errno == ENOMEM ? why_memory : "not a name as vis(1) writes it";
	if (**resource)
		return NULL;
	free(*resource);
	return "no resource";
}

static const char *add_trip(struct control *control, const char *value)
{
	size_t len = strcspn(value, BLANKS);
	const char *wait = value + len + strspn(value + len, BLANKS);
	int64_t for_ms = 0;
	char *resource;
	const char *why = *wait ? parse_wait(wait, &for_ms) : NULL;

	if (!why && *wait && for_ms == 0)
		why = "not a time to wait";
	if (!why)
		why = decode_resource(value, len, &resource);
	return why ? why : put_trip(control, resource, for_ms);
}

static const struct verb {
	const char *name;
	/* VALUE is of CONTROL_TEXT_MAX bytes at most. */
	const char *(*set)(struct control *control, const char *value);
	bool text; /* for people, and may be cut */
} verbs[] = {
    {"retry-after", set_retry_after, false},
    {"defer", set_defer, false},
    {"bury", set_bury, true},
    {"progress", set_progress, true},
    {"note", add_note, true},
    {"trip", add_trip, false},
};

static const struct verb *verb_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strlen(verbs[i].name) == len && memcmp(verbs[i].name, name, len) == 0)
			return &verbs[i];
	return NULL;
}

static const char *parse_line(void *control, const char *line, size_t len)
{
	char value[CONTROL_TEXT_MAX + 1];
	const char *end = line, *last = line + len;
	const struct verb *verb;

	if (memchr(line, '\0', len))
		return "NUL byte";
	while (end < last && !is_blank(*end))
		end++;
	verb = verb_find(line, (size_t)(end - line));
	if (!verb)
		return "unknown verb";
	while (end < last && is_blank(*end))
		end++;
	len = (size_t)(last - end);
	if (len > CONTROL_TEXT_MAX && !verb->text)
		return "too long";
	if (len > CONTROL_TEXT_MAX)
		len = CONTROL_TEXT_MAX;
	while (len > 0 && is_blank(end[len - 1]))
		len--;
	memcpy(value, end, len);
	value[len] = '\0';
	return verb->set(control, value);
}

void control_parse(const char *text, size_t len, struct control *control,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg)
{
	lines_parse(text, len, parse_line, control, wrong, arg);
}
