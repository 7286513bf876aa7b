#include "log.h"

#include "../worklog.h"

static struct work_event event_of(enum work_outcome outcome, const char *cause, const char *reason)
{
	return (struct work_event){.outcome = outcome,
	    .cause = cause,
	    .reason = reason,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};
}

void relay_note(const char *cause, const char *reason, const char *place)
{
	struct work_event event = event_of(WORK_NOTE, cause, reason);

	event.name = place;
	worklog(&event);
}

void relay_log(enum work_outcome outcome, const char *queue, const char *id, const char *cause,
    const char *reason)
{
	struct work_event event = event_of(outcome, cause, reason);

	event.queue = queue;
	event.id = id;
	worklog(&event);
}

void relay_tell_news(struct wire *wire, bool quiet)
{
	const char *news;

	while ((news = wire_news(wire)) != NULL) {
		if (!quiet || wire_was_down(wire))
			relay_note(news, NULL, NULL);
	}
}
