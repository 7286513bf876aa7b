#include "run/environment.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same_variable(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return strncmp(a, b, len) == 0 && b[len] == '=';
}

/* The first of a name wins, so what has precedence is added first. */
static int add_new(struct strings *env, const char *variable)
{
	for (size_t i = 0; i < env->count; i++)
		if (same_variable(variable, env->item[i]))
			return 0;
	return strings_add(env, variable);
}

__attribute__((format(printf, 2, 3))) static int add_text(
    struct strings *env, const char *format, ...)
{
	char *text;
	va_list args;
	int result;

	va_start(args, format);
	result = vasprintf(&text, format, args);
	va_end(args);
	if (result < 0)
		return -1;
	result = add_new(env, text);
	free(text);
	return result;
}

/* Variables that QSPOOL and QJOB_ are reserved for must not come from outside. */
static bool reserved(const char *variable)
{
	return strncmp(variable, "QJOB_", 5) == 0 || strncmp(variable, "QSPOOL=", 7) == 0;
}

static bool allowed_from_others(const char *variable)
{
	return same_variable("LANG=", variable) || same_variable("TZ=", variable) ||
	    (strncmp(variable, "LC_", 3) == 0 && strchr(variable, '='));
}

static int add_headers(struct strings *env, const struct meta *meta)
{
	for (size_t i = 0; i < meta->headers.count; i++) {
		char *variable = header_to_env(meta->headers.item[i]);
		int result = variable ? add_new(env, variable) : -1;

		free(variable);
		if (result != 0)
			return -1;
	}
	return 0;
}

static int add_facts(struct strings *env, const struct child_start *start)
{
	const struct job *job = start->job;
	const struct queue *queue = job->queue;
	const char *spool = queue->spool->path;
	char sent[WHEN_SIZE];

	when_rfc3339((int64_t)(job_id_sent_ns(job->name.id) / 1000000), sent);
	if (add_text(env, "QSPOOL=%s", spool) != 0 ||
	    add_text(env, "QJOB_ID=%s", job->name.id) != 0 ||
	    add_text(env, "QJOB_NAME=%s", start->meta->name ? start->meta->name : job->name.id) !=
	        0 ||
	    add_text(env, "QJOB_QUEUE=%s", queue->name) != 0 ||
	    add_text(env, "QJOB_ATTEMPT=%u", job->name.attempts) != 0 ||
	    add_text(env, "QJOB_ATTEMPTS=%u", start->attempts) != 0 ||
	    add_text(env, "QJOB_PRIORITY=%u", job->name.priority) != 0 ||
	    add_text(env, "QJOB_SENT=%s", sent) != 0 ||
	    add_text(env, "QJOB_FILE=%s/%s/%s/%s", spool, queue->name, queue_dir_name[DIR_CUR],
	        job->file) != 0 ||
	    add_text(env, "QJOB_SENDER=%u", (unsigned)job->st.st_uid) != 0)
		return -1;
	if (start->controls->fd >= 0 &&
	    add_text(env, "QJOB_CONTROL=%s/%s", start->controls->path, start->control) != 0)
		return -1;
	if (!start->meta->has_expires)
		return 0;
	when_rfc3339(start->meta->expires_ms, sent);
	return add_text(env, "QJOB_EXPIRES=%s", sent);
}

int environment_build(const struct child_start *start, struct strings *env)
{
	const struct strings *own = &start->meta->env;
	uid_t owner = start->job->st.st_uid;
	bool trusted = start->meta->trusted && (owner == 0 || owner == geteuid());

	if (add_facts(env, start) != 0 || add_headers(env, start->meta) != 0)
		return -1;
	for (size_t i = 0; i < own->count; i++)
		if (!reserved(own->item[i]) && (trusted || allowed_from_others(own->item[i])) &&
		    add_new(env, own->item[i]) != 0)
			return -1;
	for (char **inherited = environ; *inherited; inherited++)
		if (!reserved(*inherited) && add_new(env, *inherited) != 0)
			return -1;
	return 0;
}

int command_build(const struct child_start *start, struct strings *argv)
{
	const struct handler *handler = start->handler;
	const struct strings *args = &start->meta->args;

	if (handler->path && strings_add(argv, handler->path) != 0)
		return -1;
	for (char *const *word = handler->command; word && *word; word++)
		if (strings_add(argv, *word) != 0)
			return -1;
	for (size_t i = 0; i < args->count; i++)
		if (strings_add(argv, args->item[i]) != 0)
			return -1;
	return 0;
}
