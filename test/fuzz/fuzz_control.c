/* What a handler wrote to $QJOB_CONTROL. */
#include "fuzz.h"

#include "format/control.h"

struct seen {
	unsigned last, lines, wrong;
};

/* Each wrong line once, in order, with a reason. */
static void wrong(void *arg, unsigned line, const char *why)
{
	struct seen *seen = arg;

	MUST(line > seen->last && line <= seen->lines);
	MUST(why && *why);
	seen->last = line;
	seen->wrong++;
}

static void check_words(const char *text)
{
	MUST(strlen(text) <= CONTROL_TEXT_MAX && !strchr(text, '\n'));
}

static void check_trips(const struct control *control)
{
	MUST(control->trips <= CONTROL_TRIPS_MAX);
	for (size_t i = 0; i < control->trips; i++) {
		const struct control_trip *trip = &control->tripped[i];

		MUST(*trip->resource && strlen(trip->resource) <= CONTROL_TEXT_MAX);
		MUST(trip->for_ms >= 0 && trip->for_ms <= CONTROL_WAIT_MAX_MS);
		for (size_t j = 0; j < i; j++)
			MUST(strcmp(trip->resource, control->tripped[j].resource) != 0);
	}
}

static unsigned parse(const char *text, size_t size, struct control *control)
{
	struct seen seen = {.lines = 1};
	bool waits;

	for (size_t i = 0; i < size; i++)
		seen.lines += text[i] == '\n';
	control_init(control);
	control_parse(text, size, control, wrong, &seen);
	waits = control->verdict == CONTROL_RETRY_AFTER || control->verdict == CONTROL_DEFER;
	MUST(control->wait_ms >= 0 && control->wait_ms <= CONTROL_WAIT_MAX_MS);
	MUST(waits || control->wait_ms == 0);
	MUST(control->verdict == CONTROL_BURY || !*control->reason);
	MUST(control->notes.count <= CONTROL_NOTES_MAX);
	check_words(control->reason);
	check_words(control->progress);
	for (size_t i = 0; i < control->notes.count; i++)
		check_words(control->notes.item[i]);
	check_trips(control);
	return seen.wrong;
}

static void must_be_equal(const struct control *a, const struct control *b)
{
	MUST(a->verdict == b->verdict && a->wait_ms == b->wait_ms);
	MUST(strcmp(a->reason, b->reason) == 0 && strcmp(a->progress, b->progress) == 0);
	MUST(a->notes.count == b->notes.count);
	for (size_t i = 0; i < a->notes.count; i++)
		MUST(strcmp(a->notes.item[i], b->notes.item[i]) == 0);
	MUST(a->trips == b->trips);
	for (size_t i = 0; i < a->trips; i++)
		MUST(strcmp(a->tripped[i].resource, b->tripped[i].resource) == 0 &&
		    a->tripped[i].for_ms == b->tripped[i].for_ms);
}

/* Of the text with LINES behind it, CONTROL is what is said. */
static void check_with(
    const char *text, size_t size, const char *lines, const struct control *control)
{
	size_t len = size + strlen(lines);
	char *longer = malloc(len); /* nothing behind it */
	struct control again;

	MUST(longer);
	memcpy(longer, text, size);
	memcpy(longer + size, lines, strlen(lines));
	parse(longer, len, &again);
	must_be_equal(control, &again);
	control_release(&again);
	free(longer);
}

/* The last one counts; what is not understood changes nothing. */
static void check_last(const char *text, size_t size, struct control *control)
{
	control->verdict = CONTROL_BURY;
	control->wait_ms = 0;
	control->reason[0] = '\0';
	check_with(text, size, "\n trip disk soon\n\n\tbury", control);
	control->verdict = CONTROL_DEFER;
	control->wait_ms = 60000;
	check_with(text, size, "\nbury\ndefer 1m\ndefer -1\nretry-after soon\n", control);
	control->verdict = CONTROL_RETRY_AFTER;
	control->wait_ms = CONTROL_WAIT_MAX_MS;
	check_with(text, size, "\nretry-after 30d", control);
	memcpy(control->progress, "3/10", 5);
	check_with(text, size, "\nretry-after 7d\nprogress  3/10 \r\n", control);
}

/* Each line means by itself what it means among the others. */
static void check_lines(const char *text, size_t size, const struct control *control)
{
	struct control last;

	control_init(&last);
	for (const char *end = text + size; text < end;) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t len = newline ? (size_t)(newline - text) : (size_t)(end - text);
		char *line = malloc(len ? len : 1);
		struct control one;
		unsigned wrong_lines;

		MUST(line);
		memcpy(line, text, len);
		wrong_lines = parse(line, len, &one);
		MUST(!memchr(line, '\0', len) || wrong_lines == 1);
		MUST(wrong_lines == 0 || one.verdict == CONTROL_NONE);
		if (one.verdict != CONTROL_NONE) {
			last.verdict = one.verdict;
			last.wait_ms = one.wait_ms;
			memcpy(last.reason, one.reason, sizeof last.reason);
		}
		control_release(&one);
		free(line);
		text += len + (newline != NULL);
	}
	MUST(last.verdict == control->verdict && last.wait_ms == control->wait_ms);
	MUST(strcmp(last.reason, control->reason) == 0);
}

/* Nothing in the name of a resource can be taken for what stands behind it. */
static void say_trip(FILE *out, const struct control_trip *trip)
{
	fputs("trip ", out);
	for (const char *c = trip->resource; *c; c++)
		fprintf(out, "\\%03o", (unsigned char)*c);
	if (trip->for_ms > 0)
		fprintf(out, " %lldms", (long long)trip->for_ms);
	fputc('\n', out);
}

/* Whether none of its names is too long when each byte takes four. */
static bool is_sayable(const struct control *control)
{
	for (size_t i = 0; i < control->trips; i++)
		if (strlen(control->tripped[i].resource) > CONTROL_TEXT_MAX / 5)
			return false;
	return true;
}

/* Said again, it is the same, and every line of it is understood. */
static void check_again(const struct control *control)
{
	static const char *const verbs[] = {NULL, "retry-after", "defer", "bury"};
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct control again;

	MUST(out);
	if (control->verdict == CONTROL_BURY)
		fprintf(out, "bury %s\n", control->reason);
	else if (control->verdict != CONTROL_NONE)
		fprintf(out, "%s %lldms\n", verbs[control->verdict], (long long)control->wait_ms);
	if (*control->progress)
		fprintf(out, "progress %s\n", control->progress);
	for (size_t i = 0; i < control->notes.count; i++)
		fprintf(out, "note %s\n", control->notes.item[i]);
	for (size_t i = 0; i < control->trips; i++)
		say_trip(out, &control->tripped[i]);
	MUST(fclose(out) == 0);
	MUST(parse(text, len, &again) == 0);
	must_be_equal(control, &again);
	control_release(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control control;

	parse((const char *)data, size, &control);
	check_lines((const char *)data, size, &control);
	if (is_sayable(&control))
		check_again(&control);
	check_last((const char *)data, size, &control);
	control_release(&control);
	return 0;
}
