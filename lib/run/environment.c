#include "run/environment.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/strings.h"

static size_t name_len(const char *variable)
{
	return strcspn(variable, "=");
}

/* A variable and its place in the list, which is its precedence: the first of a name wins. */
struct entry {
	char *variable;
	size_t place;
};

static int by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	size_t x_len = name_len(x->variable), y_len = name_len(y->variable);
	int order = memcmp(x->variable, y->variable, x_len < y_len ? x_len : y_len);

	if (order == 0)
		order = (x_len > y_len) - (x_len < y_len);
	return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

static bool same_name(const char *a, const char *b)
{
	size_t len = name_len(a);

	return len == name_len(b) && memcmp(a, b, len) == 0;
}

/* Keeps the first of each name. Sorted, since a job may bring a hundred thousand, and
 * comparing each with all would keep the other jobs waiting. */
static int drop_repeated(struct strings *env)
{
	struct entry *entry = calloc(env->count + 1, sizeof *entry);
	size_t kept = 0;

	if (!entry)
		return -1;
	for (size_t i = 0; i < env->count; i++)
		entry[i] = (struct entry){env->item[i], i};
	qsort(entry, env->count, sizeof *entry, by_name);
	for (size_t i = 0; i < env->count; i++)
		if (kept > 0 && same_name(env->item[kept - 1], entry[i].variable))
			free(entry[i].variable);
		else
			env->item[kept++] = entry[i].variable;
	env->count = kept;
	env->item[kept] = NULL;
	free(entry);
	return 0;
}

int environment_add(struct strings *env, const char *format, ...)
{
	char *text;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return strings_take(env, len < 0 ? NULL : text);
}

/* Variables that QSPOOL, QJOB_ and QHOOK are reserved for must not come from outside. */
static bool reserved(const char *variable)
{
	return strncmp(variable, "QJOB_", 5) == 0 || strncmp(variable, "QHOOK", 5) == 0 ||
	    strncmp(variable, "QSPOOL=", 7) == 0;
}

static bool is_named(const char *variable, const char *name)
{
	size_t len = strlen(name);

	return strncmp(variable, name, len) == 0 && variable[len] == '=';
}

/* The libraries of a handler read files whose names these values are made of: with a path in
 * them, a sender would choose the file. A time zone has a '/' in it, but does not begin with one. */
static bool is_plain(const char *value, bool slash)
{
	for (const char *c = value; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '%' || (*c == '/' && !slash))
			return false;
	value += *value == ':';
	return *value != '/' && !strstr(value, "..");
}

/* ACCEPT: names, or their beginnings with a '*' behind. */
static bool is_accepted(const char *variable, const struct strings *accept)
{
	for (size_t i = 0; accept && i < accept->count; i++) {
		size_t len = strcspn(accept->item[i], "*");

		if (strncmp(variable, accept->item[i], len) == 0 &&
		    (accept->item[i][len] == '*' || variable[len] == '='))
			return true;
	}
	return false;
}

static bool allowed_from_others(const char *variable, const struct strings *accept)
{
	const char *value = variable + name_len(variable) + 1;

	if (is_accepted(variable, accept))
		return true;
	if (is_named(variable, "TZ"))
		return is_plain(value, true);
	return (is_named(variable, "LANG") || strncmp(variable, "LC_", 3) == 0) &&
	    is_plain(value, false);
}

static int add_headers(struct strings *env, const struct meta *meta)
{
	for (size_t i = 0; i < meta->headers.count; i++)
		if (strings_take(env, header_to_env(meta->headers.item[i])) != 0)
			return -1;
	return 0;
}

int environment_job(
    struct strings *env, const struct job *job, const struct meta *meta, unsigned attempts)
{
	char sent[WHEN_SIZE];

	when_rfc3339((int64_t)(job_id_sent_ns(job->name.id) / 1000000), sent);
	if (environment_add(env, "QJOB_ID=%s", job->name.id) != 0 ||
	    environment_add(env, "QJOB_NAME=%s", meta->name ? meta->name : job->name.id) != 0 ||
	    environment_add(env, "QJOB_QUEUE=%s", job->queue->name) != 0 ||
	    environment_add(env, "QJOB_ATTEMPT=%u", job->name.attempts) != 0 ||
	    environment_add(env, "QJOB_ATTEMPTS=%u", attempts) != 0 ||
	    environment_add(env, "QJOB_PRIORITY=%u", job->name.priority) != 0 ||
	    environment_add(env, "QJOB_SENT=%s", sent) != 0 ||
	    environment_add(env, "QJOB_SENDER=%u", (unsigned)job->st.st_uid) != 0)
		return -1;
	if (meta->has_expires) {
		when_rfc3339(meta->expires_ms, sent);
		if (environment_add(env, "QJOB_EXPIRES=%s", sent) != 0)
			return -1;
	}
	return add_headers(env, meta);
}

static int add_facts(struct strings *env, const struct child_start *start)
{
	const struct job *job = start->job;
	const struct queue *queue = job->queue;
	const char *spool = queue->spool->path;

	if (environment_add(env, "QSPOOL=%s", spool) != 0 ||
	    environment_add(env, "QJOB_FILE=%s/%s/%s/%s", spool, queue->name,
	        queue_dir_name[DIR_CUR], job->file) != 0)
		return -1;
	if (start->controls->fd >= 0 &&
	    environment_add(env, "QJOB_CONTROL=%s/%s", start->controls->path, start->control) != 0)
		return -1;
	return environment_job(env, job, start->meta, start->attempts);
}

int environment_own(struct strings *env)
{
	for (char **own = environ; *own; own++)
		if (!reserved(*own) && strings_add(env, *own) != 0)
			return -1;
	return drop_repeated(env);
}

/* What only we say of a job has names of its own. */
static bool may_repeat(const struct meta *meta)
{
	return meta->env.count > 0 || meta->headers.count > 0;
}

static int add_each(struct strings *list, const struct strings *more)
{
	for (size_t i = 0; i < more->count; i++)
		if (strings_add(list, more->item[i]) != 0)
			return -1;
	return 0;
}

int environment_brought(struct strings *env, const struct job *job, const struct meta *meta,
    const struct strings *accept)
{
	uid_t owner = job->st.st_uid;
	bool trusted = meta->trusted && (owner == 0 || owner == geteuid());

	for (size_t i = 0; i < meta->env.count; i++)
		if (!reserved(meta->env.item[i]) &&
		    (trusted || allowed_from_others(meta->env.item[i], accept)) &&
		    strings_add(env, meta->env.item[i]) != 0)
			return -1;
	return 0;
}

int environment_build(
    const struct child_start *start, struct strings *env, const struct strings **inherited)
{
	const struct strings *own = &start->base->environment;

	*inherited = own;
	if (add_facts(env, start) != 0)
		return -1;
	if (!may_repeat(start->meta))
		return 0;
	*inherited = NULL;
	if (environment_brought(env, start->job, start->meta, start->accept_env) != 0 ||
	    add_each(env, own) != 0)
		return -1;
	return drop_repeated(env);
}

int command_build(const struct child_start *start, struct strings *argv)
{
	const struct handler *handler = start->handler;

	if (handler->path &&
	    (strings_add(argv, handler->path) != 0 || add_each(argv, start->handler_args) != 0))
		return -1;
	for (char *const *word = handler->command; word && *word; word++)
		if (strings_add(argv, *word) != 0)
			return -1;
	return add_each(argv, &start->meta->args);
}
