#include "format/name.h"

#include "format/when.h"
#include "unit.h"

#define ID "06d5kz3rwv8e0hj4mnpq"
#define NINES "99999999999999999999"

static bool parses(const char *text)
{
	struct job_name name;

	return job_name_parse(text, &name);
}

/* The promise of the header: what parses is what is written. */
static bool round_trips(const char *text)
{
	struct job_name name;
	char again[JOB_NAME_SIZE];

	if (!job_name_parse(text, &name))
		return false;
	job_name_format(&name, again);
	return strcmp(text, again) == 0;
}

static void check_ours(const char *text)
{
	if (!CHECK(round_trips(text)))
		printf("#   \"%s\"\n", text);
}

static void check_foreign(const char *text)
{
	if (!CHECK(!parses(text)))
		printf("#   \"%s\"\n", text);
}

static void names_of_ours(void)
{
	check_ours("50." ID ".0");
	check_ours("00." ID ".1");
	check_ours("99." ID ".999999");
	check_ours("50." ID ".3,l");
	check_ours("50." ID ".3,m");
	check_ours("50." ID ".3,l,m");
	check_ours("50." ID ".0,s0-00000000");
	check_ours("20261122T041551.123Z.50." ID ".0,w");
	check_ours("50." ID ".0,l,m,s18446744073709551615-deadbeef");
	check_ours("20261122T041551.123Z.50." ID ".0");
	check_ours("19700101T000000.000Z.50." ID ".0");
	check_ours("99991231T235959.999Z.99." ID ".999999,l,m,s18446744073709551615-ffffffff,w");
	check_ours("50.00000000000000000000.0");
	check_ours("50.fzzzzzzzzzzzzzzzzzzz.0");
}

static void fields(void)
{
	struct job_name name;

	CHECK(job_name_parse("20261122T041551.123Z.07." ID ".42,l,s1234-00c0ffee", &name));
	CHECK_INT(name.due_ms, 1795320951123);
	CHECK_INT(name.priority, 7);
	CHECK_STR(name.id, ID);
	CHECK_INT(name.attempts, 42);
	CHECK(name.log && !name.meta && name.unsynced);
	CHECK_INT((int64_t)name.length, 1234);
	CHECK_INT(name.crc, 0xc0ffee);

	CHECK(job_name_parse("50." ID ".0,m", &name));
	CHECK(name.due_ms == JOB_DUE_NONE);
	CHECK(!name.log && name.meta && !name.unsynced && !name.asked);

	CHECK(job_name_parse("50." ID ".0,l,w", &name));
	CHECK(name.log && !name.meta && !name.unsynced && name.asked);
}

static void foreign_names(void)
{
	static const char *const foreign[] = {"", ".", "..", "50", "50.", "50.x.3", "job",
	    ".50." ID ".0", "50." ID, "50." ID ".", "50." ID "0", "50" ID ".0", "50.." ID ".0",
	    "50." ID "..0", "50." ID ".0 ", " 50." ID ".0", "50." ID ".0\n", "50." ID ".0.gz",
	    "50." ID ".0~", "50/" ID ".0"};

	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
		check_foreign(foreign[i]);
}

static void wrong_priorities(void)
{
	check_foreign("5." ID ".0");
	check_foreign("100." ID ".0");
	check_foreign("050." ID ".0");
	check_foreign("-1." ID ".0");
	check_foreign("+1." ID ".0");
	check_foreign(" 1." ID ".0");
	check_foreign("5a." ID ".0");
	check_foreign("." ID ".0");
}

static void wrong_ids(void)
{
	char text[JOB_NAME_SIZE];

	check_foreign("50.06d5kz3rwv8e0hj4mnp.0");
	check_foreign("50.06d5kz3rwv8e0hj4mnpqr.0");
	check_foreign("50.06D5KZ3RWV8E0HJ4MNPQ.0");
	/* a time of 65 bits */
	check_foreign("50.g0000000000000000000.0");
	for (size_t at = 3; at < 3 + JOB_ID_LEN; at++) {
		for (const char *wrong = "ilouA-_.,/ \x80\xff"; *wrong; wrong++) {
			strcpy(text, "50." ID ".0");
			text[at] = *wrong;
			check_foreign(text);
		}
	}
}

static void wrong_attempts(void)
{
	check_foreign("50." ID ".00");
	check_foreign("50." ID ".01");
	check_foreign("50." ID ".1000000");
	check_foreign("50." ID "." NINES NINES);
	check_foreign("50." ID ".-1");
	check_foreign("50." ID ".+1");
	check_foreign("50." ID ". 1");
	check_foreign("50." ID ".1x");
	check_foreign("50." ID ".0x1");
}

static void wrong_marks(void)
{
	static const char *const marks[] = {",", ",x", ",lm", ",l,", ",,l", "l", ",l,l", ",m,m",
	    ",m,l", ",s1-00000000,l", ",s1-00000000,m", ",s1-00000000,s1-00000000", ",w,l",
	    ",w,s1-00000000", ",w,w", ",L", ",l ", ", l"};
	char text[JOB_NAME_SIZE];

	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
		snprintf(text, sizeof text, "50." ID ".0%s", marks[i]);
		check_foreign(text);
	}
}

static void wrong_checksums(void)
{
	static const char *const marks[] = {",s", ",s-", ",s1", ",s1-", ",s-00000000",
	    ",s01-00000000", ",s00-00000000", ",s1-0000000", ",s1-000000000", ",s1-0000000g",
	    ",s1-DEADBEEF", ",s1-deadbeeF", ",s1-0x000000", ",s1.00000000", ",s+1-00000000",
	    ",s18446744073709551616-00000000", ",s18446744073709551620-00000000",
	    ",s" NINES "-00000000", ",s" NINES NINES "-00000000"};
	char text[JOB_NAME_SIZE];

	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
		snprintf(text, sizeof text, "50." ID ".0%s", marks[i]);
		check_foreign(text);
	}
}

static void wrong_dues(void)
{
	static const char *const dues[] = {"20260230T041551.123Z.", "20250229T000000.000Z.",
	    "21000229T000000.000Z.", "20261122T041551.123Z", "20261122T041551.123.",
	    "20261122T041551.123z.", "20261122T041551Z.", "20261122T041551,123Z.",
	    "20261322T041551.123Z.", "20260022T041551.123Z.", "20261100T041551.123Z.",
	    "20261131T041551.123Z.", "20261122T241551.123Z.", "20261122T046051.123Z.",
	    "20261122T041560.123Z.", "19691231T235959.999Z.", "00000101T000000.000Z.",
	    "2026112 T041551.123Z.", "2026-11-22T04:15:51.123Z.",
	    "20261122T041551.123Z.20261122T041551.123Z."};
	char text[JOB_NAME_SIZE];

	for (size_t i = 0; i < sizeof dues / sizeof *dues; i++) {
		snprintf(text, sizeof text, "%s50." ID ".0", dues[i]);
		check_foreign(text);
	}
	check_ours("20240229T000000.000Z.50." ID ".0");
	check_ours("20000229T000000.000Z.50." ID ".0");
}

/* In memory of its own, so that a sanitizer sees a read behind the NUL. */
static bool parses_alone(const char *text, size_t len)
{
	char *copy = strndup(text, len);
	bool parsed = copy && parses(copy);

	free(copy);
	return parsed;
}

static void cut_short(void)
{
	static const char name[] = "20261122T041551.123Z.50." ID ".12,l,m,s1234-00c0ffee";
	static const char whole[] = "20261122T041551.123Z.50." ID ".1";
	size_t shortest = sizeof whole - 1;

	for (size_t len = 0; len < shortest; len++)
		CHECK(!parses_alone(name, len));
	for (size_t len = shortest; len < sizeof name; len++) {
		size_t rest = len - shortest;
		bool ours =
		    rest == 0 || rest == 1 || rest == 3 || rest == 5 || len == sizeof name - 1;

		CHECK_INT(parses_alone(name, len), ours);
	}
}

static void names_of_255_bytes(void)
{
	char text[256];

	for (int c = 1; c < 256; c++) {
		memset(text, c, 255);
		text[255] = '\0';
		CHECK(!parses_alone(text, 255));
		memcpy(text, "50." ID ".0", 25);
		CHECK(!parses_alone(text, 255));
	}
}

/* Whatever one byte becomes: foreign, or written again as it is. */
static void any_other_byte(void)
{
	static const char name[] = "20261122T041551.123Z.50." ID ".12,l,m,s1234-00c0ffee";
	char text[sizeof name];
	unsigned ours = 0;

	for (size_t at = 0; at < sizeof name - 1; at++) {
		for (int c = 0; c < 256; c++) {
			memcpy(text, name, sizeof name);
			text[at] = (char)c;
			if (!parses(text))
				continue;
			ours++;
			check_ours(text);
		}
	}
	CHECK(ours > 100);
}

static void longest_name_fits(void)
{
	struct job_name name = {
	    WHEN_MAX_MS, 99, ID, JOB_ATTEMPTS_MAX, true, true, true, UINT64_MAX, UINT32_MAX, true};
	char text[JOB_NAME_SIZE];

	job_name_format(&name, text);
	CHECK_INT((int64_t)strlen(text), 88);
	CHECK(round_trips(text));
}

static void names_sort_as_they_run(void)
{
	static const char *const order[] = {"00." ID ".9", "49.06d5kz3rwv8e0hj4mnpz.0",
	    "50.06d5kz3rwv8e0hj4mnpp.7,l", "50." ID ".0", "99." ID ".0"};

	for (size_t i = 1; i < sizeof order / sizeof *order; i++)
		CHECK(strcmp(order[i - 1], order[i]) < 0);
}

static void ids_sort_by_time_then_chance(void)
{
	static const uint64_t times[] = {0, 1, 31, 32, 1023, 1024, UINT64_C(1795320951123456789),
	    UINT64_C(1795320951123456790), UINT64_MAX - 1, UINT64_MAX};
	static const uint64_t chances[] = {
	    0, 1, 9, 10, 31, 32, UINT64_C(0x3ffffffff), UINT64_C(0x7ffffffff)};
	char last[JOB_ID_LEN + 1] = "", id[JOB_ID_LEN + 1];

	for (size_t t = 0; t < sizeof times / sizeof *times; t++) {
		for (size_t c = 0; c < sizeof chances / sizeof *chances; c++) {
			job_id_format(times[t], chances[c], id);
			CHECK(strcmp(last, id) < 0);
			CHECK_INT((int64_t)strlen(id), JOB_ID_LEN);
			CHECK(job_id_prefix_ok(id, JOB_ID_LEN));
			CHECK(job_id_sent_ns(id) == times[t]);
			strcpy(last, id);
		}
	}
}

static void ids_known(void)
{
	char id[JOB_ID_LEN + 1];

	job_id_format(0, 0, id);
	CHECK_STR(id, "00000000000000000000");
	job_id_format(UINT64_MAX, UINT64_MAX, id);
	CHECK_STR(id, "fzzzzzzzzzzzzzzzzzzz");
	job_id_format(32, 33, id);
	CHECK_STR(id, "00000000000100000011");
	/* only 35 bits of chance count */
	job_id_format(0, UINT64_C(1) << 35, id);
	CHECK_STR(id, "00000000000000000000");
}

static void id_prefixes(void)
{
	for (size_t len = 1; len <= JOB_ID_LEN; len++)
		CHECK(job_id_prefix_ok(ID, len));
	CHECK(!job_id_prefix_ok(ID, 0));
	CHECK(!job_id_prefix_ok(ID "0", JOB_ID_LEN + 1));
	CHECK(!job_id_prefix_ok("06d", 4));
	CHECK(!job_id_prefix_ok("06d.", 4));
	CHECK(!job_id_prefix_ok("06D", 3));
	CHECK(!job_id_prefix_ok("06i", 3));
	CHECK(!job_id_prefix_ok("06l", 3));
	CHECK(!job_id_prefix_ok("06o", 3));
	CHECK(!job_id_prefix_ok("06u", 3));
	CHECK(job_id_prefix_ok("f", 1));
	CHECK(!job_id_prefix_ok("g", 1));
}

static void whole_ids(void)
{
	char id[] = ID;

	CHECK(job_id_ok(ID));
	CHECK(!job_id_ok(""));
	CHECK(!job_id_ok(ID "0"));
	for (size_t i = 0; i < JOB_ID_LEN; i++) {
		id[i] = '.';
		CHECK(!job_id_ok(id));
		id[i] = '\0';
		CHECK(!job_id_ok(id));
		id[i] = ID[i];
	}
	id[0] = 'g';
	CHECK(!job_id_ok(id));
}

/* As strictly as other names: what parses is what is written. */
static bool waits(const char *text)
{
	struct job_name name;
	char *copy = strdup(text), queue[QUEUE_NAME_SIZE], again[WAITING_NAME_SIZE];
	bool ours = waiting_name_parse(copy, &name, queue);

	if (ours) {
		waiting_name_format(&name, queue, again);
		CHECK_STR(again, text);
	}
	free(copy);
	return ours;
}

static void names_of_waiting_jobs(void)
{
	struct job_name name;
	char queue[QUEUE_NAME_SIZE];

	CHECK(waits("50." ID ".0@mail"));
	CHECK(waits("20261122T041551.123Z.50." ID ".3,l,m,s12-deadbeef,w@a.b"));
	CHECK(waiting_name_parse("07." ID ".2,m@low-1", &name, queue));
	CHECK_STR(queue, "low-1");
	CHECK_STR(name.id, ID);
	CHECK(name.priority == 7 && name.attempts == 2 && name.meta);
}

static void names_of_nobody_who_waits(void)
{
	static const char *const wrong[] = {"", "@", "50." ID ".0", "50." ID ".0@", "@mail",
	    "50." ID ".0@.mail", "50." ID ".0@a/b", "50." ID ".0@mail@mail", "50." ID ".0@@mail",
	    "50." ID ".0 @mail", "50." ID ".0@mail\n", "5." ID ".0@mail", "x@mail",
	    "50." ID ".00@mail"};
	char text[400];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (!CHECK(!waits(wrong[i])))
			printf("#   \"%s\"\n", wrong[i]);
	for (int len = 120; len < 300; len++) {
		snprintf(text, sizeof text, "%0*d@mail", len, 0);
		CHECK(!waits(text));
	}
}

static void the_longest_waiting_name_fits(void)
{
	char text[400];
	static const char job[] =
	    "99991231T235959.999Z.99." ID ".999999,l,m,s18446744073709551615-ffffffff,w";

	snprintf(text, sizeof text, "%s@%064d", job, 0);
	CHECK(strlen(text) < WAITING_NAME_SIZE);
	CHECK(waits(text));
	snprintf(text, sizeof text, "%s@%065d", job, 0);
	CHECK(!waits(text));
}

static void queue_names(void)
{
	char name[66];

	CHECK(queue_name_ok("default"));
	CHECK(queue_name_ok("a"));
	CHECK(queue_name_ok("A-z_0.9"));
	CHECK(queue_name_ok("-q"));
	CHECK(queue_name_ok("q."));
	CHECK(!queue_name_ok(""));
	CHECK(!queue_name_ok("."));
	CHECK(!queue_name_ok(".."));
	CHECK(!queue_name_ok(".q"));
	CHECK(!queue_name_ok("a/b"));
	CHECK(!queue_name_ok("a b"));
	CHECK(!queue_name_ok("a\n"));
	CHECK(!queue_name_ok("caf\xc3\xa9"));
	memset(name, 'q', 65);
	name[65] = '\0';
	CHECK(!queue_name_ok(name));
	name[64] = '\0';
	CHECK(queue_name_ok(name));
}

int main(void)
{
	return UNIT_RUN(TEST(names_of_ours), TEST(fields), TEST(foreign_names),
	    TEST(wrong_priorities), TEST(wrong_ids), TEST(wrong_attempts), TEST(wrong_marks),
	    TEST(wrong_checksums), TEST(wrong_dues), TEST(cut_short), TEST(names_of_255_bytes),
	    TEST(any_other_byte), TEST(longest_name_fits), TEST(names_sort_as_they_run),
	    TEST(ids_sort_by_time_then_chance), TEST(ids_known), TEST(id_prefixes), TEST(whole_ids),
	    TEST(names_of_waiting_jobs), TEST(names_of_nobody_who_waits),
	    TEST(the_longest_waiting_name_fits), TEST(queue_names));
}
