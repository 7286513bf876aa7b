#include "format/strings.h"

#include "format/room.h"
#include "unit.h"

static void fill(struct strings *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char text[16];

		snprintf(text, sizeof text, "%u", i * 7919 % 1000);
		CHECK(strings_add(list, text) == 0);
		CHECK(list->count == i + 1 && !list->item[i + 1]);
		CHECK_STR(list->item[i], text);
	}
}

static void a_list_is_sorted_and_searched(void)
{
	struct strings list = {0};

	CHECK(!strings_has(&list, "") && !strings_has_sorted(&list, ""));
	strings_sort(&list);
	fill(&list, 1000);
	CHECK(strings_has(&list, "999") && !strings_has(&list, "1000"));
	strings_sort(&list);
	for (size_t i = 1; i < list.count; i++)
		CHECK(strcmp(list.item[i - 1], list.item[i]) < 0);
	CHECK(strings_has_sorted(&list, "0") && strings_has_sorted(&list, "999"));
	CHECK(!strings_has_sorted(&list, "") && !strings_has_sorted(&list, "99999"));
	strings_release(&list);
	CHECK(list.count == 0 && !list.item);
}

/* One that was emptied, or cut, has room again for each that is added. */
static void a_list_grows_after_it_shrank(void)
{
	static const size_t kept[] = {0, 1, 2, 3, 5, 8, 64, 99};

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		size_t *item = NULL, count = 0;

		for (unsigned round = 0; round < 2; round++) {
			for (; count < 100; count++) {
				item = with_room(item, count, sizeof *item);
				CHECK(item != NULL);
				if (!item)
					return;
				item[count] = count;
				item[count + 1] = 0;
			}
			for (size_t n = 0; n < count; n++)
				CHECK(item && item[n] == n);
			count = kept[i];
		}
		free(item);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(a_list_is_sorted_and_searched), TEST(a_list_grows_after_it_shrank));
}
