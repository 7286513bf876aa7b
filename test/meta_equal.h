/* Whether two have the same options: for tests, which write, read and compare. */
#ifndef QSPOOL_TEST_META_EQUAL_H
#define QSPOOL_TEST_META_EQUAL_H

#include <string.h>

#include "format/meta.h"

static inline bool strings_equal(const struct strings *a, const struct strings *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->item[i], b->item[i]) != 0)
			return false;
	return a->count == 0 || (!a->item[a->count] && !b->item[b->count]);
}

static inline bool text_equal(const char *a, const char *b)
{
	return !a == !b && (!a || strcmp(a, b) == 0);
}

static inline bool ties_equal(const struct meta *a, const struct meta *b)
{
	if (!text_equal(a->key, b->key) || a->key_until_start != b->key_until_start ||
	    !text_equal(a->batch, b->batch) || !strings_equal(&a->after, &b->after) ||
	    a->resources != b->resources)
		return false;
	for (size_t i = 0; i < a->resources; i++)
		if (!text_equal(a->resource[i].name, b->resource[i].name) ||
		    a->resource[i].jobs != b->resource[i].jobs)
			return false;
	return true;
}

static inline bool meta_equal(const struct meta *a, const struct meta *b)
{
	return a->has_attempts == b->has_attempts && a->attempts == b->attempts &&
	    a->has_backoff == b->has_backoff && a->backoff.base_ms == b->backoff.base_ms &&
	    a->backoff.cap_ms == b->backoff.cap_ms && a->has_timeout == b->has_timeout &&
	    a->timeout_ms == b->timeout_ms && a->has_expires == b->has_expires &&
	    a->expires_ms == b->expires_ms && a->has_memory == b->has_memory &&
	    a->memory == b->memory && a->has_cpu == b->has_cpu && a->cpu_ms == b->cpu_ms &&
	    a->has_nice == b->has_nice && a->nice == b->nice && a->has_keep == b->has_keep &&
	    a->keep_ms == b->keep_ms && text_equal(a->name, b->name) && ties_equal(a, b) &&
	    text_equal(a->relay, b->relay) && strings_equal(&a->args, &b->args) &&
	    strings_equal(&a->env, &b->env) && strings_equal(&a->headers, &b->headers);
}

#endif
