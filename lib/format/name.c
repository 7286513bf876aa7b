#include "format/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/when.h"

enum {
	JOB_ID_CHANCE_LEN = JOB_ID_LEN - JOB_ID_TIME_LEN,
	CRC_LEN = 8,
};

static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char base16[] = "0123456789abcdef";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of C among the first BASE of these DIGITS, or -1. memchr, since
 * strchr would find the NUL too. */
static int digit_value(char c, const char *digits, size_t base)
{
	const char *at = memchr(digits, c, base);

	return at ? (int)(at - digits) : -1;
}

static bool skip(const char **text, const char *expected)
{
	size_t len = strlen(expected);

	if (strncmp(*text, expected, len) != 0)
		return false;
	*text += len;
	return true;
}

/* A decimal number of at most MAX, without leading zeros. */
static bool scan_number(const char **text, uint64_t max, uint64_t *number)
{
	const char *at = *text;
	uint64_t n = 0;

	if (!is_digit(*at) || (at[0] == '0' && is_digit(at[1])))
		return false;
	for (; is_digit(*at); at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*text = at;
	*number = n;
	return true;
}

static bool scan_priority(const char **text, unsigned *priority)
{
	const char *at = *text;

	if (!is_digit(at[0]) || !is_digit(at[1]))
		return false;
	*priority = (unsigned)((at[0] - '0') * 10 + (at[1] - '0'));
	*text += 2;
	return true;
}

static bool scan_id(const char **text, char id[static JOB_ID_LEN + 1])
{
	if (!job_id_prefix_ok(*text, JOB_ID_LEN))
		return false;
	memcpy(id, *text, JOB_ID_LEN);
	id[JOB_ID_LEN] = '\0';
	*text += JOB_ID_LEN;
	return true;
}

static bool scan_attempts(const char **text, unsigned *attempts)
{
	uint64_t number;

	if (!scan_number(text, JOB_ATTEMPTS_MAX, &number))
		return false;
	*attempts = (unsigned)number;
	return true;
}

static bool scan_crc(const char **text, uint32_t *crc)
{
	*crc = 0;
	for (int i = 0; i < CRC_LEN; i++) {
		int digit = digit_value(**text, base16, 16);

		if (digit == -1)
			return false;
		*crc = *crc << 4 | (uint32_t)digit;
		++*text;
	}
	return true;
}

static bool scan_marks(const char **text, struct job_name *name)
{
	name->log = skip(text, ",l");
	name->meta = skip(text, ",m");
	name->unsynced = skip(text, ",s");
	if (name->unsynced &&
	    (!scan_number(text, UINT64_MAX, &name->length) || !skip(text, "-") ||
	        !scan_crc(text, &name->crc)))
		return false;
	name->asked = skip(text, ",w");
	return true;
}

bool job_name_parse(const char *text, struct job_name *name)
{
	*name = (struct job_name){.due_ms = JOB_DUE_NONE};
	if (when_stamp_parse(text, &name->due_ms)) {
		text += WHEN_STAMP_LEN;
		if (!skip(&text, "."))
			return false;
	}
	return scan_priority(&text, &name->priority) && skip(&text, ".") &&
	    scan_id(&text, name->id) && skip(&text, ".") && scan_attempts(&text, &name->attempts) &&
	    scan_marks(&text, name) && *text == '\0';
}

void job_name_format(const struct job_name *name, char text[static JOB_NAME_SIZE])
{
	char due[WHEN_SIZE] = "";
	char unsynced[2 + 20 + 1 + CRC_LEN + 1] = "";

	if (name->due_ms != JOB_DUE_NONE)
		when_stamp(name->due_ms, due);
	if (name->unsynced)
		snprintf(
		    unsynced, sizeof unsynced, ",s%" PRIu64 "-%08" PRIx32, name->length, name->crc);
	snprintf(text, JOB_NAME_SIZE, "%s%s%02u.%s.%u%s%s%s%s", due, *due ? "." : "",
	    name->priority, name->id, name->attempts, name->log ? ",l" : "", name->meta ? ",m" : "",
	    unsynced, name->asked ? ",w" : "");
}

bool waiting_name_parse(const char *text, struct job_name *name, char queue[static QUEUE_NAME_SIZE])
{
	char job[JOB_NAME_SIZE];
	size_t len = strcspn(text, "@");

	if (text[len] == '\0' || len >= sizeof job || !queue_name_ok(text + len + 1))
		return false;
	memcpy(job, text, len);
	job[len] = '\0';
	strcpy(queue, text + len + 1);
	return job_name_parse(job, name);
}

void waiting_name_format(
    const struct job_name *name, const char *queue, char text[static WAITING_NAME_SIZE])
{
	size_t len;

	job_name_format(name, text);
	len = strlen(text);
	snprintf(text + len, WAITING_NAME_SIZE - len, "@%s", queue);
}

static void put_base32(uint64_t number, char *text, size_t len)
{
	while (len-- > 0) {
		text[len] = base32[number % 32];
		number /= 32;
	}
}

void job_id_format(uint64_t sent_ns, uint64_t chance, char id[static JOB_ID_LEN + 1])
{
	put_base32(sent_ns, id, JOB_ID_TIME_LEN);
	put_base32(chance, id + JOB_ID_TIME_LEN, JOB_ID_CHANCE_LEN);
	id[JOB_ID_LEN] = '\0';
}

bool job_id_prefix_ok(const char *text, size_t len)
{
	/* 13 digits hold 65 bits and a time has 64: the first is one of 16. */
	if (len == 0 || len > JOB_ID_LEN || digit_value(text[0], base32, 16) == -1)
		return false;
	for (size_t i = 1; i < len; i++)
		if (digit_value(text[i], base32, 32) == -1)
			return false;
	return true;
}

bool job_id_ok(const char *text)
{
	return strlen(text) == JOB_ID_LEN && job_id_prefix_ok(text, JOB_ID_LEN);
}

uint64_t job_id_sent_ns(const char *id)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < JOB_ID_TIME_LEN; i++)
		ns = ns << 5 | (uint64_t)digit_value(id[i], base32, 32);
	return ns;
}

bool queue_name_ok(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
	                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789._-";
	size_t len = strspn(name, allowed);

	return len >= 1 && len < QUEUE_NAME_SIZE && name[len] == '\0' && name[0] != '.';
}
