#include "format/name.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "format/when.h"

enum {
	JOB_ID_CHANCE_LEN = JOB_ID_LEN - JOB_ID_TIME_LEN,
	CRC_LEN = 8,
};

static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* What each is worth, from '0' on, or -1; the first 16 are those of base 16. A table: a scan asks for millions. */
static const signed char digits_worth['z' - '0' + 1] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 10, 11, 12, 13, 14, 15, 16, 17, -1, 18, 19, -1,
    20, 21, -1, 22, 23, 24, 25, 26, -1, 27, 28, 29, 30, 31};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of C as a digit of BASE, 16 or 32; or -1. */
static int digit_value(char c, int base)
{
	int value = c >= '0' && c <= 'z' ? digits_worth[c - '0'] : -1;

	return value < base ? value : -1;
}

static bool skip(const char **text, char expected)
{
	if (**text != expected)
		return false;
	++*text;
	return true;
}

static bool skip_mark(const char **text, char mark)
{
	if ((*text)[0] != ',' || (*text)[1] != mark)
		return false;
	*text += 2;
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
		int digit = digit_value(**text, 16);

		if (digit == -1)
			return false;
		*crc = *crc << 4 | (uint32_t)digit;
		++*text;
	}
	return true;
}

static bool scan_marks(const char **text, struct job_name *name)
{
	name->log = skip_mark(text, 'l');
	name->meta = skip_mark(text, 'm');
	name->unsynced = skip_mark(text, 's');
	if (name->unsynced &&
	    (!scan_number(text, UINT64_MAX, &name->length) || !skip(text, '-') ||
	        !scan_crc(text, &name->crc)))
		return false;
	name->asked = skip_mark(text, 'w');
	return true;
}

bool job_name_parse(const char *text, struct job_name *name)
{
	*name = (struct job_name){.due_ms = JOB_DUE_NONE};
	if (when_stamp_parse(text, &name->due_ms)) {
		text += WHEN_STAMP_LEN;
		if (!skip(&text, '.'))
			return false;
	}
	return scan_priority(&text, &name->priority) && skip(&text, '.') &&
	    scan_id(&text, name->id) && skip(&text, '.') && scan_attempts(&text, &name->attempts) &&
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
	if (len == 0 || len > JOB_ID_LEN || digit_value(text[0], 16) == -1)
		return false;
	for (size_t i = 1; i < len; i++)
		if (digit_value(text[i], 32) == -1)
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
		ns = ns << 5 | (uint64_t)digit_value(id[i], 32);
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
