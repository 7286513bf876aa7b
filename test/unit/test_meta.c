#include "format/meta.h"

#include <errno.h>
#include <locale.h>

#include "format/crc32c.h"
#include "format/name.h"
#include "../meta_equal.h"
#include "unit.h"

/* One with something everywhere. */
static void fill(struct meta *meta)
{
	meta_init(meta);
	meta->has_attempts = true;
	meta->attempts = 5;
	meta->has_backoff = true;
	meta->backoff = (struct backoff){1000, 3600000};
	meta->has_timeout = true;
	meta->timeout_ms = 30500;
	meta->has_memory = true;
	meta->memory = INT64_C(1536) << 20;
	meta->has_cpu = true;
	meta->cpu_ms = 90000;
	meta->has_nice = true;
	meta->nice = 0;
	meta->has_expires = true;
	meta->expires_ms = 1795320951123;
	meta->name = strdup("old name\n.txt");
	meta->has_keep = true;
	meta->keep_ms = INT64_C(7) * 24 * 60 * 60 * 1000;
	meta->key = strdup("order 4711\xc3\xa9");
	meta->key_until_start = true;
	meta->batch = strdup("2026-11-22");
	CHECK(strings_add(&meta->after, "import\n") == 0);
	CHECK(strings_add(&meta->after, "06d5kz3rwv8e0hj4mnpq") == 0);
	CHECK(meta_add_resource(meta, "tape", 0) == 0);
	CHECK(meta_add_resource(meta, " db\t", RESOURCE_JOBS_MAX) == 0);
	CHECK(meta_add_resource(meta, "disk", 1) == 0);
	meta->relay = strdup("nats jobs\n17");
	CHECK(strings_add(&meta->args, "-v") == 0);
	CHECK(strings_add(&meta->args, "") == 0);
	CHECK(strings_add(&meta->args, " two words\t\\ ") == 0);
	CHECK(strings_add(&meta->env, "LANG=C") == 0);
	CHECK(strings_add(&meta->env, "EMPTY=") == 0);
	CHECK(strings_add(&meta->headers, "Subject: caf\xc3\xa9") == 0);
}

static const char filled[] = "qspool 1\n"
                             "attempts 5\n"
                             "backoff 1s..1h\n"
                             "timeout 30.5s\n"
                             "memory 1536M\n"
                             "cpu 1m30s\n"
                             "nice 0\n"
                             "expires 2026-11-22T04:15:51.123Z\n"
                             "keep 1w\n"
                             "name old name\\n.txt\n"
                             "key order 4711\\M-C\\M-)\n"
                             "key-until start\n"
                             "batch 2026-11-22\n"
                             "after import\\n\n"
                             "after 06d5kz3rwv8e0hj4mnpq\n"
                             "resource 1000000  db\\t\n"
                             "resource 1 disk\n"
                             "resource - tape\n"
                             "relay nats jobs\\n17\n"
                             "arg -v\n"
                             "arg \n"
                             "arg  two words\\t\\\\ \n"
                             "env LANG=C\n"
                             "env EMPTY=\n"
                             "header Subject: caf\\M-C\\M-)\n"
                             "end ";

/* Written, read and written again; consumes META. */
static void check_round_trip(struct meta *meta)
{
	struct meta again;
	const char *why = NULL;
	size_t len = 0, len_again = 0;
	char *text = meta_format(meta, &len), *text_again;

	meta_init(&again);
	CHECK(text && strlen(text) == len);
	CHECK_INT(meta_parse(text, len, &again, &why), 0);
	CHECK(meta_equal(meta, &again));
	text_again = meta_format(&again, &len_again);
	CHECK_STR(text_again, text);
	free(text);
	free(text_again);
	meta_release(&again);
	meta_release(meta);
}

/* BODY between a right first and a right last line. malloc'd. */
static char *framed(const char *body, size_t *len)
{
	char *text = NULL;
	int head = asprintf(&text, "qspool 1\n%send 01234567\n", body) - 13;

	snprintf(text + head, 14, "end %08x\n", crc32c(0, text, (size_t)head));
	*len = (size_t)head + 13;
	return text;
}

/* What is wrong with TEXT, or NULL. In memory of its own and without a NUL, so
 * that a sanitizer sees a read behind its end. */
static const char *why_not(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	struct meta meta;
	const char *why = NULL;

	if (copy && text)
		memcpy(copy, text, len);
	meta_init(&meta);
	errno = 0;
	if (meta_parse(copy, len, &meta, &why) == -1) {
		CHECK_INT(errno, EBADMSG);
		CHECK(why != NULL);
		CHECK(meta_empty(&meta));
	}
	meta_release(&meta);
	free(copy);
	return why;
}

static void check_body(const char *body, const char *want)
{
	size_t len;
	char *text = framed(body, &len);
	const char *why = why_not(text, len);

	if (!CHECK(want ? why && strcmp(why, want) == 0 : !why))
		printf("#   \"%s\": %s\n", body, why ? why : "parsed");
	free(text);
}

static void empty(void)
{
	struct meta meta;

	meta_init(&meta);
	CHECK(meta_empty(&meta));
	check_round_trip(&meta);

	fill(&meta);
	CHECK(!meta_empty(&meta));
	meta_release(&meta);
	CHECK(meta_empty(&meta));
	meta_release(&meta);
	CHECK(meta_empty(&meta));
}

static void nothing_is_overlooked_as_empty(void)
{
	static const char *const bodies[] = {"attempts 1\n", "backoff 0s\n", "timeout 1ms\n",
	    "memory 1M\n", "cpu 1ms\n", "nice 0\n", "expires 1970-01-01T00:00:00.000Z\n",
	    "keep 1ms\n", "name x\n", "key x\n", "batch x\n", "after x\n", "resource - x\n",
	    "relay x\n", "arg \n", "env A=\n", "header A:\n"};

	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
		struct meta meta;
		const char *why = NULL;
		size_t len;
		char *text = framed(bodies[i], &len);

		meta_init(&meta);
		CHECK_INT(meta_parse(text, len, &meta, &why), 0);
		CHECK(!meta_empty(&meta));
		check_round_trip(&meta);
		free(text);
	}
}

static void full(void)
{
	struct meta meta;
	size_t len;
	char *text;

	fill(&meta);
	text = meta_format(&meta, &len);
	CHECK(text && strncmp(text, filled, sizeof filled - 1) == 0);
	CHECK_INT((int64_t)len, sizeof filled - 1 + 9);
	free(text);
	check_round_trip(&meta);
}

/* Every byte beside every other one: what is encoded may depend on what follows. */
static void any_bytes_but_nul(void)
{
	struct meta meta;

	meta_init(&meta);
	for (int a = 1; a < 256; a++) {
		char text[3 * 255 + 1];

		for (int b = 1; b < 256; b++) {
			text[3 * b - 3] = (char)a;
			text[3 * b - 2] = (char)b;
			text[3 * b - 1] = (char)a;
		}
		text[3 * 255] = '\0';
		CHECK(strings_add(&meta.args, text) == 0);
		text[1] = '\0';
		CHECK(strings_add(&meta.args, text) == 0);
	}
	check_round_trip(&meta);
}

static void the_text_is_plain(void)
{
	struct meta meta;
	size_t len;
	char *text;

	meta_init(&meta);
	CHECK(strings_add(&meta.args, "\n\t\x1b[31m\x7f\x80\xff\r\b\\") == 0);
	text = meta_format(&meta, &len);
	for (size_t i = 0; text && i < len; i++)
		CHECK(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
	CHECK(text && strchr(strchr(text, '\n') + 1, '\n') == strstr(text, "\nend "));
	free(text);
	check_round_trip(&meta);
}

static void the_locale_does_not_matter(void)
{
	struct meta meta;
	size_t len, len_again;
	char *text, *again;

	fill(&meta);
	text = meta_format(&meta, &len);
	if (!setlocale(LC_ALL, "C.UTF-8"))
		printf("# no such locale, nothing compared\n");
	again = meta_format(&meta, &len_again);
	CHECK_STR(again, text);
	free(again);
	check_round_trip(&meta);
	setlocale(LC_ALL, "C");
	free(text);
}

static void many_and_long_values(void)
{
	struct meta meta;
	char *text = malloc(100001);

	memset(text, '\n', 100000);
	text[100000] = '\0';
	meta_init(&meta);
	meta.name = text;
	for (int i = 0; i < 10000; i++)
		CHECK(strings_add(&meta.args, "x") == 0);
	CHECK_INT((int64_t)meta.args.count, 10000);
	check_round_trip(&meta);
}

static void damage_in_any_byte(void)
{
	struct meta meta;
	size_t len;
	char *text;

	fill(&meta);
	text = meta_format(&meta, &len);
	for (size_t at = 0; text && at < len; at++) {
		char was = text[at];

		for (int flip = 1; flip < 256; flip++) {
			text[at] = (char)(was ^ flip);
			if (!CHECK(why_not(text, len)))
				printf("#   byte %zu ^ %d\n", at, flip);
		}
		text[at] = was;
	}
	CHECK(!why_not(text, len));
	free(text);
	meta_release(&meta);
}

static void cut_and_grown(void)
{
	struct meta meta;
	size_t len;
	char *text, longer[2048];

	fill(&meta);
	text = meta_format(&meta, &len);
	for (size_t cut = 0; cut < len; cut++) {
		CHECK(why_not(text, cut));
		CHECK(why_not(text + len - cut, cut));
	}
	memcpy(longer, text, len);
	for (int c = 0; c < 256; c++) {
		longer[len] = (char)c;
		CHECK(why_not(longer, len + 1));
	}
	memcpy(longer + len, text, len);
	CHECK(why_not(longer, 2 * len));
	memset(longer, 0, sizeof longer);
	CHECK(why_not(longer, len));
	free(text);
	meta_release(&meta);
}

static void lines_swapped_or_left_out(void)
{
	size_t len, other;
	char *text = framed("arg a\narg b\n", &len), *swapped = framed("arg b\narg a\n", &other);

	memcpy(swapped + other - 13, text + len - 13, 13);
	CHECK(why_not(swapped, other));
	memmove(text + 9, text + 15, len - 15);
	CHECK(why_not(text, len - 6));
	free(text);
	free(swapped);
}

static void other_versions(void)
{
	char text[64];

	for (const char *const *first =
	         (const char *const[]){"qspool 2\n", "qspool 1 ", "Qspool 1\n", NULL};
	     *first; first++) {
		int len = snprintf(text, sizeof text, "%s", *first);

		snprintf(text + len, sizeof text - (size_t)len, "end %08x\n",
		    crc32c(0, text, (size_t)len));
		CHECK_STR(why_not(text, (size_t)len + 13), "unknown version");
	}
}

static void too_long(void)
{
	size_t len, values = META_SIZE_MAX - 9 - 13 - 5;
	char *body = malloc(values + 7), *text;

	memcpy(body, "arg ", 4);
	memset(body + 4, 'x', values + 1);
	memcpy(body + 4 + values, "\n", 2);
	text = framed(body, &len);
	CHECK_INT((int64_t)len, META_SIZE_MAX);
	CHECK(!why_not(text, len));
	free(text);

	memcpy(body + 4 + values, "x\n", 3);
	text = framed(body, &len);
	CHECK_STR(why_not(text, len), "too long");
	free(text);
	free(body);
}

static void right_lines(void)
{
	check_body("", NULL);
	check_body("attempts 1\n", NULL);
	check_body("attempts 999999\n", NULL);
	check_body("header A:b\nenv A=b\narg a\nattempts 2\n", NULL);
	check_body("timeout 36525d\n", NULL);
	check_body("backoff 30s\n", NULL);
	check_body("keep 1ms\n", NULL);
	check_body("key k\nkey-until start\n", NULL);
	check_body("key-until start\narg a\nkey k\n", NULL);
	check_body("batch b\n", NULL);
	check_body("after b\nafter a\nafter b\n", NULL);
	check_body("relay http://hub/jobs\\n17\n", NULL);
	check_body("resource 1 a\nresource - b\narg x\nresource 1000000 c\n", NULL);
	check_body("resource 1  \nresource - -\n", NULL);
	check_body("resource - a\nresource - a\\M-)\n", NULL);
	check_body("arg \\s\\040\\^A\\M-a\\$\n", NULL);
}

static void wrong_lines(void)
{
	static const char *const unknown[] = {"\n", "args a\n", "Attempts 1\n", " attempts 1\n",
	    "end 01234567\n", "# x\n", "keys k\n", "qspool 1\n"};
	static const char *const wrong[] = {"attempts\n", "attempts \n", "attempts 0\n",
	    "attempts 1000000\n", "attempts -1\n", "attempts +1\n", "attempts  1\n",
	    "attempts 1 \n", "attempts 1x\n", "attempts 99999999999999999999\n", "backoff\n",
	    "backoff \n", "backoff 2s..1s\n", "backoff x\n", "timeout\n", "timeout 0s\n",
	    "timeout 0.0001s\n", "timeout -1s\n", "timeout 36526d\n", "memory\n", "memory \n",
	    "memory 0\n", "memory 1023K\n", "memory 1m\n", "memory 2000000T\n", "cpu\n", "cpu 0\n",
	    "cpu 0.0001s\n", "nice\n", "nice \n", "nice -1\n", "nice 20\n", "nice 1x\n",
	    "expires\n", "expires \n", "expires 10:15\n", "expires @0\n",
	    "expires 2026-02-30T00:00:00.000Z\n", "expires 2026-11-22T04:15:51Z\n",
	    "expires 2026-11-22T06:15:51.123+02:00\n", "expires 1969-12-31T00:00:00.000Z\n",
	    "name\n", "name \n", "arg\n", "env\n", "env A\n", "env =b\n", "env 1A=b\n",
	    "env QSPOOL=/x\n", "env QJOB_ID=1\n", "header\n", "header a\n", "header : b\n",
	    "header a b: c\n", "arg \\Mx\n", "arg \\000\n", "arg \\0\n", "arg a\\0b\n",
	    "name \\000\n", "name \\$\n", "key\n", "key \n", "key \\$\n", "key a\\0b\n",
	    "key-until\n", "key k\nkey-until \n", "key k\nkey-until finish\n",
	    "key k\nkey-until start \n", "batch\n", "batch \n", "batch \\$\n", "relay\n",
	    "relay \n", "relay \\$\n", "after\n", "after \n", "after \\$\n", "keep\n", "keep \n",
	    "keep 0\n", "keep 0.0001s\n", "keep -1s\n", "keep x\n", "resource\n", "resource \n",
	    "resource a\n", "resource -\n", "resource - \n", "resource  a\n", "resource 0 a\n",
	    "resource 1000001 a\n", "resource 99999999999 a\n", "resource -1 a\n",
	    "resource +1 a\n", "resource -- a\n", "resource 1x a\n", "resource 1\n",
	    "resource 1 \\$\n", "resource 1 \\Mx\n"};

	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		check_body(unknown[i], "unknown option");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		check_body(wrong[i], "wrong value");
}

static void options_given_twice(void)
{
	check_body("attempts 1\nattempts 1\n", "repeated option");
	check_body("backoff 1s\nbackoff 2s\n", "repeated option");
	check_body("timeout 1s\narg a\ntimeout 1s\n", "repeated option");
	check_body("memory 1M\nmemory 1M\n", "repeated option");
	check_body("cpu 1s\ncpu 1s\n", "repeated option");
	check_body("nice 1\nnice 1\n", "repeated option");
	check_body("name a\nname a\n", "repeated option");
	check_body("keep 1s\nkeep 1s\n", "repeated option");
	check_body("key a\nkey b\n", "repeated option");
	check_body("key a\nkey-until start\nkey-until start\n", "repeated option");
	check_body("batch a\nbatch a\n", "repeated option");
	check_body("relay a\nrelay b\n", "repeated option");
	check_body("resource - a\nresource 1 a\n", "repeated option");
	check_body("resource - a\nresource - b\nresource - c\nresource - d\nresource - e\n"
	           "resource - f\nresource - g\nresource - h\nresource - i\nresource - j\n"
	           "resource - k\nresource - l\nresource - m\nresource - n\nresource - o\n"
	           "resource - p\nresource - q\n",
	    "too many resources");
	check_body("resource - a\nresource - b\nresource - a\n", "repeated option");
	check_body("expires 2026-11-22T04:15:51.123Z\nexpires 2026-11-22T04:15:51.123Z\n",
	    "repeated option");
	check_body("arg a\narg a\nenv A=1\nenv A=1\nheader A:\nheader A:\n", NULL);
}

static void a_key_is_needed_to_hold_it(void)
{
	struct meta meta;
	size_t len;
	char *text;

	check_body("key-until start\n", "key-until without key");
	check_body("arg a\nkey-until start\nbatch b\n", "key-until without key");

	meta_init(&meta);
	meta.key_until_start = true;
	CHECK(meta_empty(&meta));
	text = meta_format(&meta, &len);
	CHECK(text && !strstr(text, "key"));
	free(text);
}

static void resources_have_one_order(void)
{
	check_body("resource - b\nresource - a\n", "resources out of order");
	check_body("resource - a\nresource - c\nresource - b\n", "resources out of order");
	/* as bytes, whatever the sign of a char */
	check_body("resource - \\M-)\nresource - a\n", "resources out of order");
}

static void resources_are_added_in_any_order(void)
{
	struct meta meta;
	char name[16];

	meta_init(&meta);
	for (unsigned i = 0; i < RESOURCES_MAX; i++) {
		snprintf(name, sizeof name, "%03u", i * 7 % RESOURCES_MAX);
		CHECK_INT(meta_add_resource(&meta, name, i), 0);
	}
	CHECK(meta_add_resource(&meta, "more", 0) == -1 && errno == E2BIG);
	CHECK_INT((int64_t)meta.resources, RESOURCES_MAX);
	for (unsigned i = 0; i < RESOURCES_MAX; i++) {
		snprintf(name, sizeof name, "%03u", i);
		CHECK_STR(meta.resource[i].name, name);
		CHECK_INT(meta.resource[i].jobs * 7 % RESOURCES_MAX, i);
		CHECK(meta_add_resource(&meta, name, 0) == -1 && errno == EEXIST);
	}
	check_round_trip(&meta);
}

static void wrong_resources(void)
{
	struct meta meta;

	meta_init(&meta);
	CHECK(meta_add_resource(&meta, "", 1) == -1 && errno == EINVAL);
	CHECK(meta_add_resource(&meta, "a", RESOURCE_JOBS_MAX + 1) == -1 && errno == EINVAL);
	CHECK(meta_empty(&meta) && !meta.resource);
}

static void a_line_without_end(void)
{
	check_body("arg a", "line without end");
	check_body("arg a\narg b", "line without end");
}

static void a_nul(void)
{
	size_t len;
	char *text = framed("arg aXb\n", &len), end[14];

	*strchr(text, 'X') = '\0';
	snprintf(end, sizeof end, "end %08x\n", crc32c(0, text, len - 13));
	memcpy(text + len - 13, end, 13);
	CHECK_STR(why_not(text, len), "NUL byte");
	free(text);
}

static void env_names(void)
{
	CHECK(env_ok("A=b"));
	CHECK(env_ok("_a9="));
	CHECK(env_ok("A=b=c\n"));
	CHECK(env_ok("QSPOOLX=1"));
	CHECK(env_ok("QJOB=1"));
	CHECK(env_ok("qjob_id=1"));
	CHECK(!env_ok(""));
	CHECK(!env_ok("A"));
	CHECK(!env_ok("=b"));
	CHECK(!env_ok("9A=b"));
	CHECK(!env_ok("A-B=c"));
	CHECK(!env_ok("A =b"));
	CHECK(!env_ok("\xc3\xa9=b"));
	CHECK(!env_ok("QSPOOL=/x"));
	CHECK(!env_ok("QSPOOL="));
	CHECK(!env_ok("QJOB_=1"));
	CHECK(!env_ok("QJOB_ID=1"));
}

static void header_names(void)
{
	char text[80];

	CHECK(header_ok("Subject: hello"));
	CHECK(header_ok("X-a_9:"));
	CHECK(header_ok("9: x\ny"));
	CHECK(!header_ok(""));
	CHECK(!header_ok("Subject"));
	CHECK(!header_ok(": x"));
	CHECK(!header_ok("a b: x"));
	CHECK(!header_ok("a : x"));
	CHECK(!header_ok("a=b: x"));
	CHECK(!header_ok("\xc3\xa9: x"));
	memset(text, 'n', 65);
	strcpy(text + 65, ": x");
	CHECK(!header_ok(text));
	CHECK(header_ok(text + 1));
}

static void headers_as_environment(void)
{
	static const char *const pairs[][2] = {
	    {"Subject: hello", "QJOB_HEADER_SUBJECT=hello"},
	    {"x-Request_id9:  a: b ", "QJOB_HEADER_X_REQUEST_ID9=a: b "},
	    {"A:b-c", "QJOB_HEADER_A=b-c"},
	    {"A:", "QJOB_HEADER_A="},
	    {"A:\t=x", "QJOB_HEADER_A==x"},
	};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		char *text = header_to_env(pairs[i][0]);

		CHECK_STR(text, pairs[i][1]);
		free(text);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(empty), TEST(nothing_is_overlooked_as_empty), TEST(full),
	    TEST(any_bytes_but_nul), TEST(the_text_is_plain), TEST(the_locale_does_not_matter),
	    TEST(many_and_long_values), TEST(damage_in_any_byte), TEST(cut_and_grown),
	    TEST(lines_swapped_or_left_out), TEST(other_versions), TEST(too_long),
	    TEST(right_lines), TEST(wrong_lines), TEST(options_given_twice),
	    TEST(a_key_is_needed_to_hold_it), TEST(resources_have_one_order),
	    TEST(resources_are_added_in_any_order), TEST(wrong_resources), TEST(a_line_without_end),
	    TEST(a_nul), TEST(env_names), TEST(header_names), TEST(headers_as_environment));
}
