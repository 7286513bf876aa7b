/* Options of a job: the text in meta/ID. */
#include "../meta_equal.h"
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>

#include "format/crc32c.h"
#include "format/meta.h"
#include "format/name.h"
#include "format/size.h"
#include "format/when.h"

static void check_ties(const struct meta *meta)
{
	MUST(!meta->name || *meta->name);
	MUST(!meta->key || *meta->key);
	MUST(!meta->batch || *meta->batch);
	MUST(meta->key || !meta->key_until_start);
	for (size_t i = 0; i < meta->after.count; i++)
		MUST(*meta->after.item[i]);
	for (size_t i = 0; i < meta->resources; i++) {
		const struct meta_resource *resource = &meta->resource[i];

		MUST(*resource->name && resource->jobs <= RESOURCE_JOBS_MAX);
		MUST(i == 0 || strcmp(resource[-1].name, resource->name) < 0);
	}
}

static void check_values(const struct meta *meta)
{
	MUST(!meta->has_attempts || (meta->attempts >= 1 && meta->attempts <= JOB_ATTEMPTS_MAX));
	MUST(!meta->has_backoff ||
	    (meta->backoff.base_ms >= 0 && meta->backoff.base_ms <= meta->backoff.cap_ms));
	MUST(!meta->has_timeout || meta->timeout_ms > 0);
	MUST(!meta->has_memory || (meta->memory >= MEMORY_MIN && meta->memory <= SIZE_BYTES_MAX));
	MUST(!meta->has_cpu || meta->cpu_ms > 0);
	MUST(!meta->has_nice || meta->nice <= NICE_MAX);
	MUST(!meta->has_expires || (meta->expires_ms >= 0 && meta->expires_ms <= WHEN_MAX_MS));
	MUST(!meta->has_keep || meta->keep_ms > 0);
	MUST(!meta->trusted);
	MUST(!meta->relay || *meta->relay);
	check_ties(meta);
	for (size_t i = 0; i < meta->env.count; i++)
		MUST(env_ok(meta->env.item[i]));
	for (size_t i = 0; i < meta->headers.count; i++) {
		char *variable = header_to_env(meta->headers.item[i]);

		MUST(header_ok(meta->headers.item[i]));
		MUST(variable && strncmp(variable, "QJOB_HEADER_", 12) == 0);
		free(variable);
	}
}

/* On failure nothing is left in it, and why is said. */
static bool parse(const char *text, size_t len, struct meta *meta)
{
	const char *why = NULL;

	meta_init(meta);
	errno = 0;
	if (meta_parse(text, len, meta, &why) == 0)
		return true;
	MUST(errno == EBADMSG && why && *why);
	MUST(meta_empty(meta));
	return false;
}

/* One bit changed anywhere, or an end that is missing, is noticed. */
static void check_damage(const char *text, size_t len, size_t at)
{
	char *damaged = fuzz_text((const uint8_t *)text, len);
	struct meta meta;

	MUST(len > 0);
	damaged[at % len] ^= (char)(1 << (at % 8));
	MUST(!parse(damaged, len, &meta));
	free(damaged);
	damaged = fuzz_text((const uint8_t *)text, at % len);
	MUST(!parse(damaged, at % len, &meta));
	free(damaged);
}

/* What is written is read as it was, and shows a terminal nothing raw. */
static void check_written(const struct meta *meta, size_t chance)
{
	struct meta again;
	size_t len, len_again;
	char *text = meta_format(meta, &len), *text_again;

	MUST(text && strlen(text) == len);
	for (const char *c = text; *c; c++)
		MUST(*c == '\n' || (*c >= ' ' && *c <= '~'));
	MUST(parse(text, len, &again));
	MUST(meta_equal(meta, &again));
	text_again = meta_format(&again, &len_again);
	MUST(text_again && len == len_again && memcmp(text, text_again, len) == 0);
	check_damage(text, len, chance);
	free(text);
	free(text_again);
	meta_release(&again);
}

/* TEXT as the lines of a whole file: without this the checksum would turn away nearly all. */
static char *framed(const char *text, size_t size, size_t *len)
{
	char *whole;
	FILE *out = open_memstream(&whole, len);

	MUST(out);
	fputs("qspool 1\n", out);
	fwrite(text, 1, size, out);
	fflush(out);
	fprintf(out, "end %08" PRIx32 "\n", crc32c(0, whole, *len));
	MUST(fclose(out) == 0);
	return whole;
}

static void check_text(const char *text, size_t size)
{
	char *whole = fuzz_text((const uint8_t *)text, size);
	struct meta meta;

	if (parse(whole, size, &meta)) {
		check_values(&meta);
		check_written(&meta, size);
	}
	meta_release(&meta);
	free(whole);
}

/* Where PIECE belongs by its LEN: any bytes but none at all tie a job to something. */
static void fill_tie(struct meta *meta, const char *piece, size_t len)
{
	char **text = len % 2 ? &meta->key : &meta->batch;

	if (len == 0)
		MUST(meta_add_resource(meta, piece, 0) == -1 && errno == EINVAL);
	else if (!*text)
		*text = strdup(piece);
	else if (len % 3 == 0)
		MUST(strings_add(&meta->after, piece) == 0);
	else if (len % 3 == 1)
		MUST(meta_add_resource(meta, piece, (unsigned)len) == 0 || errno == EEXIST ||
		    errno == E2BIG);
	else
		MUST(strings_add(&meta->args, piece) == 0);
}

/* Any strings of a sender: each piece up to a NUL goes where it fits. */
static void fill(struct meta *meta, const uint8_t *data, size_t size)
{
	meta_init(meta);
	for (size_t at = 0; at < size;) {
		char *piece = fuzz_text(data + at, size - at);
		size_t len = strlen(piece);

		at += len + 1;
		if (env_ok(piece))
			MUST(strings_add(&meta->env, piece) == 0);
		else if (header_ok(piece))
			MUST(strings_add(&meta->headers, piece) == 0);
		else if (len > 0 && !meta->name)
			meta->name = strdup(piece);
		else if (len > 0 && len % 5 == 0 && !meta->relay)
			meta->relay = strdup(piece);
		else
			fill_tie(meta, piece, len);
		free(piece);
	}
}

static void fill_numbers(struct meta *meta, uint64_t a, uint64_t b)
{
	meta->has_attempts = a & 1;
	meta->attempts = meta->has_attempts ? (unsigned)(a >> 8) % JOB_ATTEMPTS_MAX + 1 : 0;
	meta->has_timeout = a & 2;
	meta->timeout_ms = meta->has_timeout ? (int64_t)(b >> 24) % 3155760000000 + 1 : 0;
	meta->has_expires = a & 4;
	meta->expires_ms = meta->has_expires ? (int64_t)(b >> 8) % WHEN_MAX_MS : 0;
	meta->has_keep = a & 16;
	meta->keep_ms = meta->has_keep ? (int64_t)(a >> 16) % 3155760000000 + 1 : 0;
	meta->key_until_start = meta->key && (a & 32);
	meta->has_memory = a & 64;
	meta->memory =
	    meta->has_memory ? (int64_t)(b >> 4) % (SIZE_BYTES_MAX - MEMORY_MIN) + MEMORY_MIN : 0;
	meta->has_cpu = a & 128;
	meta->cpu_ms = meta->has_cpu ? (int64_t)(b >> 20) % 3155760000000 + 1 : 0;
	meta->has_nice = a & 256;
	meta->nice = meta->has_nice ? (unsigned)(b >> 40) % (NICE_MAX + 1) : 0;
	meta->has_backoff = a & 8;
	if (meta->has_backoff) {
		meta->backoff.cap_ms = (int64_t)(a >> 24) % 3155760000000;
		meta->backoff.base_ms = (int64_t)(b >> 32) % (meta->backoff.cap_ms + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t a = fuzz_number(data, size, 0), b = fuzz_number(data, size, 8);
	struct meta meta;
	size_t len;
	char *whole = framed((const char *)data, size, &len);

	check_text((const char *)data, size);
	check_text(whole, len);
	fill(&meta, data, size);
	fill_numbers(&meta, a, b);
	check_values(&meta);
	check_written(&meta, (size_t)(a ^ b));
	meta_release(&meta);
	free(whole);
	return 0;
}
