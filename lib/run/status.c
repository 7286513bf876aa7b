#include "run/worker.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sys/clock.h"

enum { QUIET_MS = 250 };

/* What it says of the queues. */
struct sums {
	size_t ready;
	bool more; /* and more, which are not known yet */
	unsigned queues, paused, held;
};

static struct sums add_up(const struct pool *p, int64_t now)
{
	struct sums sums = {0};
	const struct worker *w;

	LIST_FOREACH (w, &p->workers, link) {
		sums.ready += w->backlog.ready.count;
		sums.more |= w->backlog.ready.fence != NULL;
		sums.queues++;
		sums.paused += w->paused;
		sums.held += w->hold_until > now;
	}
	return sums;
}

struct text {
	char *at;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text->at + text->len, text->size - text->len, format, args);
	va_end(args);
	if (len > 0)
		text->len += (size_t)len;
	if (text->len >= text->size)
		text->len = text->size - 1;
}

static void add_some(struct text *text, unsigned count, const char *what, bool one)
{
	if (count > 0 && one)
		add(text, ", %s", what);
	else if (count > 0)
		add(text, ", %u %s", count, what);
}

static const char *doing(const struct pool *p)
{
	return p->stop > 0                  ? ", ending"
	    : p->claims_nothing             ? ", claims nothing"
	    : p->means.holds                ? ", held back"
	    : p->options->drain != DRAIN_NO ? ", draining"
	                                    : "";
}

/* "mail: 3 running, 120 ready", or "3 running, 120 ready in 2 queues, 1 paused". */
static void describe(const struct pool *p, int64_t now, struct text *text)
{
	struct sums sums = add_up(p, now);
	bool one = p->options->queue_count == 1;

	if (one)
		add(text, "%s: ", p->options->queues[0].name);
	add(text, "%u running, %zu%s ready", p->busy - p->held, sums.ready, sums.more ? "+" : "");
	if (!one)
		add(text, " in %u %s", sums.queues, sums.queues == 1 ? "queue" : "queues");
	add_some(text, sums.paused, "paused", one);
	add_some(text, sums.held, "held", one);
	add(text, "%s", doing(p));
}

/* False: it is to be told again. */
static bool tell(struct pool *p, const char *lines)
{
	int told = manager_tell(&p->status.manager, lines);

	if (told < 0) {
		spool_fail(p->spool, NULL, NULL, NULL);
		pool_trouble(p, "the service manager cannot be told anything", errno);
	}
	return told != 0;
}

static void tell_phase(struct pool *p, enum phase phase, const char *line)
{
	if (p->status.told != phase && tell(p, line))
		p->status.told = phase;
}

static void tell_alive(struct pool *p, int64_t now)
{
	struct status *s = &p->status;

	if (now < s->alive_at)
		return;
	(void)tell(p, "WATCHDOG=1");
	s->alive_at = now + s->manager.alive_ms;
}

static void show(struct pool *p, int64_t now)
{
	struct status *s = &p->status;
	char line[sizeof s->text + 8] = "STATUS=";
	struct text text = {line + strlen(line), sizeof s->text, 0};

	s->late = now < s->quiet_until;
	if (s->late)
		return;
	s->quiet_until = now + QUIET_MS;
	describe(p, now, &text);
	if (strcmp(text.at, s->text) == 0)
		return;
	setproctitle("%s", text.at);
	s->late = !tell(p, line);
	if (!s->late)
		memcpy(s->text, text.at, sizeof s->text);
}

void status_open(struct status *s)
{
	manager_open(&s->manager);
	s->alive_at = s->manager.alive_ms > 0 ? clock_mono_ms() : NEVER;
}

void status_close(struct pool *p)
{
	tell_phase(p, PHASE_STOPS, "STOPPING=1");
	manager_close(&p->status.manager);
}

void status_reloads(struct pool *p)
{
	char line[64];

	snprintf(line, sizeof line, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
	tell_phase(p, PHASE_RELOADS, line);
}

void status_tick(struct pool *p, int64_t now)
{
	if (p->stop > 0)
		tell_phase(p, PHASE_STOPS, "STOPPING=1");
	else
		tell_phase(p, PHASE_READY, "READY=1");
	tell_alive(p, now);
	show(p, now);
}

int64_t status_next(const struct pool *p)
{
	const struct status *s = &p->status;

	return s->late && s->quiet_until < s->alive_at ? s->quiet_until : s->alive_at;
}
