/* A queue's settings: what a person wrote. */
#include "fuzz.h"

#include "format/name.h"
#include "format/settings.h"
#include "qspool.h"

struct seen {
	unsigned last, lines;
};

/* Each wrong line once, in order, with a reason. */
static void wrong(void *arg, unsigned line, const char *why)
{
	struct seen *seen = arg;

	MUST(line > seen->last && line <= seen->lines);
	MUST(why && *why);
	seen->last = line;
}

static unsigned lines_of(const char *text, size_t size)
{
	unsigned lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	return lines;
}

static void parse(const char *text, size_t size, struct settings *settings)
{
	struct seen seen = {.lines = lines_of(text, size)};
	const struct meta *meta = &settings->options;

	settings_init(settings);
	settings_parse(text, size, settings, wrong, &seen);
	MUST(!meta->has_expires && !meta->name && meta->env.count == 0 && meta->headers.count == 0);
	MUST(settings->jobs <= WORK_JOBS_MAX && settings->weight <= WORK_WEIGHT_MAX);
	MUST(!meta->has_attempts || (meta->attempts >= 1 && meta->attempts <= JOB_ATTEMPTS_MAX));
	MUST(!meta->has_timeout || meta->timeout_ms > 0);
	MUST(!meta->has_backoff ||
	    (meta->backoff.base_ms >= 0 && meta->backoff.base_ms <= meta->backoff.cap_ms));
}

/* Of a meta text all lines but the first and the last are settings. */
static void check_again(const struct meta *meta)
{
	struct settings parsed;
	const struct meta *again = &parsed.options;
	size_t len;
	char *text = meta_format(meta, &len), *first, *last;

	MUST(text);
	first = strchr(text, '\n') + 1;
	last = strstr(first, "end ");
	parse(first, (size_t)(last - first), &parsed);
	MUST(again->has_attempts == meta->has_attempts && again->has_timeout == meta->has_timeout &&
	    again->has_backoff == meta->has_backoff);
	MUST(!meta->has_attempts || again->attempts == meta->attempts);
	MUST(!meta->has_timeout || again->timeout_ms == meta->timeout_ms);
	MUST(again->has_memory == meta->has_memory && again->has_cpu == meta->has_cpu &&
	    again->has_nice == meta->has_nice);
	MUST(!meta->has_memory || again->memory == meta->memory);
	MUST(!meta->has_cpu || again->cpu_ms == meta->cpu_ms);
	MUST(!meta->has_nice || again->nice == meta->nice);
	MUST(!meta->has_backoff ||
	    (again->backoff.base_ms == meta->backoff.base_ms &&
	        again->backoff.cap_ms == meta->backoff.cap_ms));
	settings_release(&parsed);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings settings;

	parse((const char *)data, size, &settings);
	check_again(&settings.options);
	settings_release(&settings);
	return 0;
}
