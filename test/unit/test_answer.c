#include "format/answer.h"

#include "unit.h"

static void right_answers(void)
{
	static const struct {
		const char *line;
		int status;
		const char *text;
	} cases[] = {{"0", 0, ""}, {"1", 1, ""}, {"255", 255, ""}, {"007", 7, ""}, {"0 ", 0, ""},
	    {"0\r", 0, ""}, {"65 no such user", 65, "no such user"},
	    {"1\t two  words ", 1, "two  words "}};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *text = NULL;

		CHECK_INT(answer_parse(cases[i].line, &text), cases[i].status);
		CHECK_STR(text, cases[i].text);
	}
}

static void no_answers(void)
{
	static const char *const lines[] = {"", " ", "-1", "+1", "256", "1000", "0000", "ok", "0x1",
	    "1,", " 0", "1.0", "99999999999999999999"};
	const char *text;

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		CHECK_INT(answer_parse(lines[i], &text), -1);
}

int main(void)
{
	return UNIT_RUN(TEST(right_answers), TEST(no_answers));
}
