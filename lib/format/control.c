#include "format/control.h"

#include <string.h>

#include "format/when.h"

#define BLANKS " \t\r"

void control_init(struct control *control)
{
	*control = (struct control){0};
}

void control_release(struct control *control)
{
	strings_release(&control->notes);
	control_init(control);
}

/* The verbs return NULL, or why not. */
static const char *set_wait(
    struct control *control, enum control_verdict verdict, const char *value)
{
	int64_t ms;

	if (duration_parse(value, &ms) != 0)
		return "not a duration";
	control->verdict = verdict;
	control->wait_ms = ms < CONTROL_WAIT_MAX_MS ? ms : CONTROL_WAIT_MAX_MS;
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
	return strings_add(&control->notes, value) == 0 ? NULL : "out of memory";
}

static const struct verb {
	const char *name;
	/* VALUE is of CONTROL_TEXT_MAX bytes at most. */
	const char *(*set)(struct control *control, const char *value);
} verbs[] = {
    {"retry-after", set_retry_after},
    {"defer", set_defer},
    {"bury", set_bury},
    {"progress", set_progress},
    {"note", add_note},
};

static const struct verb *verb_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strlen(verbs[i].name) == len && memcmp(verbs[i].name, name, len) == 0)
			return &verbs[i];
	return NULL;
}

static bool is_blank(char c)
{
	return memchr(BLANKS, c, sizeof BLANKS - 1) != NULL;
}

/* From LINE to LAST, blanks around it taken off. */
static const char *parse_line(const char *line, const char *last, struct control *control)
{
	char value[CONTROL_TEXT_MAX + 1];
	const char *end = line;
	const struct verb *verb;
	size_t len;

	if (line == last)
		return NULL;
	if (memchr(line, '\0', (size_t)(last - line)))
		return "NUL byte";
	while (end < last && !is_blank(*end))
		end++;
	verb = verb_find(line, (size_t)(end - line));
	if (!verb)
		return "unknown verb";
	while (end < last && is_blank(*end))
		end++;
	len = (size_t)(last - end);
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
		why = parse_line(text, last, control);
		if (why && wrong)
			wrong(arg, number, why);
		text = next;
	}
}
