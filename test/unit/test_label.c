#include "format/label.h"

#include <errno.h>

#include "unit.h"

#define TEN "abcdefghij"
#define SIXTY TEN TEN TEN TEN TEN TEN

/* Written, read and written again. */
static void check_whole(const char *name, const char *want)
{
	char label[LABEL_SIZE], again[LABEL_SIZE];

	CHECK_INT(label_encode(name, label), 0);
	CHECK_STR(label, want);
	CHECK(label_whole(label));
	CHECK_INT(label_decode(label, again), 0);
	CHECK_STR(again, name);
}

static void check_wrong(const char *label)
{
	char *copy = strdup(label), name[LABEL_SIZE];

	errno = 0;
	if (!CHECK(label_decode(copy, name) == -1 && errno == EINVAL && !label_whole(copy)))
		printf("#   \"%s\"\n", label);
	free(copy);
}

static void names_that_stay(void)
{
	check_whole("x", "x");
	check_whole("Az09_-+.", "Az09_-+.");
	check_whole("-x", "-x");
	check_whole("a..", "a..");
}

static void names_that_are_encoded(void)
{
	check_whole(".", "%2e");
	check_whole("..", "%2e.");
	check_whole(".x.", "%2ex.");
	check_whole("@disk", "%40disk");
	check_whole("a/b c", "a%2fb%20c");
	check_whole("100%", "100%25");
	check_whole("%2f", "%252f");
	check_whole("\x01\n\x7f\xff", "%01%0a%7f%ff");
	check_whole("caf\xc3\xa9", "caf%c3%a9");
	check_whole("!$'()*,", "%21%24%27%28%29%2a%2c");
}

static void no_empty_name(void)
{
	char label[LABEL_SIZE];

	errno = 0;
	CHECK(label_encode("", label) == -1 && errno == EINVAL);
}

/* Bytes of each kind beside each other. */
static void any_bytes_but_nul(void)
{
	for (int a = 1; a < 256; a++)
		for (int b = 1; b < 256; b++) {
			char name[] = {(char)a, (char)b, (char)a, '\0'};
			char label[LABEL_SIZE], again[LABEL_SIZE];

			CHECK(label_encode(name, label) == 0 && label[0] != '.');
			CHECK(label[strspn(label,
			          "abcdefghijklmnopqrstuvwxyz"
			          "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			          "0123456789_-+.%")] == '\0');
			CHECK(label_decode(label, again) == 0 && strcmp(name, again) == 0);
		}
}

/* Of all texts of three bytes that could be a label only those are that are written so. */
static void only_what_is_written(void)
{
	static const char bytes[] = "%.2faF@/ g\xff";
	char label[4] = "", name[LABEL_SIZE], again[LABEL_SIZE];
	unsigned ours = 0;

	for (size_t i = 0; i < 11 * 11 * 11; i++) {
		label[0] = bytes[i % 11];
		label[1] = bytes[i / 11 % 11];
		label[2] = bytes[i / 121];
		if (label_decode(label, name) == -1)
			continue;
		ours++;
		CHECK(label_encode(name, again) == 0);
		CHECK_STR(again, label);
	}
	/* Of five plain bytes, and a dot but for the first; and % with two of "2fa". */
	CHECK_INT(ours, 5 * 6 * 6 + 3 * 3);
}

static void wrong_labels(void)
{
	static const char *const wrong[] = {"", ".", ".x", "@x", "a/b", "a b", "%", "%2", "a%",
	    "%%", "%2F", "%4A", "%61", "%5f", "x%2e", "%00", "a%00", "%zz", "%2g", "!", "\xc3\xa9",
	    "a\n"};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		check_wrong(wrong[i]);
}

static void the_longest_that_stays(void)
{
	char label[LABEL_SIZE];

	check_whole(SIXTY SIXTY, SIXTY SIXTY);
	CHECK_INT(label_encode(SIXTY SIXTY "x", label), 0);
	CHECK(strcmp(label, SIXTY SIXTY) != 0);
	check_wrong(SIXTY SIXTY "x");
}

static void labels_of_any_length(void)
{
	char label[4000];

	for (size_t len = LABEL_LEN_MAX + 1; len < sizeof label; len += 7) {
		memset(label, 'x', len);
		label[len] = '\0';
		check_wrong(label);
	}
}

/* Compared with sha256sum(1). */
static void long_names_are_cut(void)
{
	char label[LABEL_SIZE];

	CHECK_INT(label_encode(SIXTY SIXTY "x", label), 0);
	CHECK_STR(label, SIXTY "abcd%%a948e8cc84f25abd19d3eb08b513e8278b1e8572");
	check_wrong(label);
	CHECK_INT(label_encode(SIXTY SIXTY "y", label), 0);
	CHECK_STR(label, SIXTY "abcd%%aca1d5976613deaddc17b3ee824351566ec8fe44");
	check_wrong(label);
}

static void no_byte_is_cut_in_two(void)
{
	static const char *const heads[] = {
	    SIXTY "abcd%%", SIXTY "a%2f%%", SIXTY "ab%%", SIXTY "abc%%"};
	static const char *const names[] = {
	    SIXTY "abcd/" SIXTY, SIXTY "a/" SIXTY, SIXTY "ab/" SIXTY, SIXTY "abc/" SIXTY};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char label[LABEL_SIZE];

		CHECK_INT(label_encode(names[i], label), 0);
		CHECK(strncmp(label, heads[i], strlen(heads[i])) == 0);
		CHECK_INT((int64_t)strlen(label), (int64_t)strlen(heads[i]) + 40);
		check_wrong(label);
	}
}

static void names_of_any_length(void)
{
	char last[LABEL_SIZE] = "", label[LABEL_SIZE], again[LABEL_SIZE];
	char name[1001] = "";

	for (size_t len = 1; len < sizeof name; len++) {
		name[len - 1] = '/';
		CHECK(label_encode(name, label) == 0 && strlen(label) <= LABEL_LEN_MAX);
		CHECK(strcmp(label, last) != 0);
		CHECK(label_whole(label) == (len <= 40));
		CHECK(len > 40 || (label_decode(label, again) == 0 && strcmp(name, again) == 0));
		strcpy(last, label);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(names_that_stay), TEST(names_that_are_encoded), TEST(no_empty_name),
	    TEST(any_bytes_but_nul), TEST(only_what_is_written), TEST(wrong_labels),
	    TEST(the_longest_that_stays), TEST(labels_of_any_length), TEST(long_names_are_cut),
	    TEST(no_byte_is_cut_in_two), TEST(names_of_any_length));
}
