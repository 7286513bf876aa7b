/*
 * From what a person types to the jobs that are meant. All words are looked up in
 * one pass over the directories: entries are matched against the sorted words, so
 * that a million ids on standard input cost a million searches, not scans.
 */
#include "spool/spool.h"

#include <bsd/string.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "spool/wait.h"

/* A job that was renamed while the directories were read may be in none of them. */
enum { PASSES = 3 };

struct key {
	struct job_word *word;
	char text[FILE_NAME_SIZE]; /* an id or its beginning, or a foreign file's name */
	size_t len;
};

struct index {
	struct spool *spool;
	struct key *key;
	size_t count;
	bool has_len[FILE_NAME_SIZE]; /* lengths of ids and prefixes that occur */
};

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct key *)a)->text, ((const struct key *)b)->text);
}

/* "SPOOL/QUEUE/new/50.ID.0", "50.ID.0", "ID", or "IDPREF"; anything else can only
 * be the name of a foreign file. One too long for a name matches nothing. */
static void make_key(struct key *key, struct job_word *word)
{
	const char *slash = strrchr(word->text, '/');
	const char *text = slash ? slash + 1 : word->text;
	struct job_name name;

	key->word = word;
	if (job_name_parse(text, &name))
		text = name.id;
	key->len = strlcpy(key->text, text, sizeof key->text);
	if (key->len >= sizeof key->text)
		key->text[key->len = 0] = '\0';
}

static bool is_id_key(const struct key *key)
{
	return key->len >= SPOOL_PREFIX_MIN && key->len <= JOB_ID_LEN &&
	    job_id_prefix_ok(key->text, key->len);
}

static int build_index(struct index *index, struct job_word *words, size_t count)
{
	*index = (struct index){.key = calloc(count ? count : 1, sizeof *index->key)};
	if (!index->key)
		return -1;
	for (size_t i = 0; i < count; i++)
		make_key(&index->key[i], &words[i]);
	index->count = count;
	qsort(index->key, count, sizeof *index->key, by_text);
	for (size_t i = 0; i < count; i++)
		if (is_id_key(&index->key[i]))
			index->has_len[index->key[i].len] = true;
	return 0;
}

static bool is_there(struct spool *spool, const struct job_place *place)
{
	struct stat st;
	int fd = place_opendir(spool, place);
	bool there = fd >= 0 && fstatat(fd, place->file, &st, AT_SYMLINK_NOFOLLOW) == 0;

	sys_discard(&fd);
	return there;
}

/* The same job seen again has moved meanwhile: the later place is the truer one. Or it has two
 * names, and the verb is for the one that was seen first: nobody buries what is also ready. */
static void match(struct spool *spool, struct job_word *word, const struct job_place *place)
{
	bool again = word->matches > 0 && place->ours == word->place.ours &&
	    (place->ours ? strcmp(place->name.id, word->place.name.id) == 0
	                 : strcmp(place->file, word->place.file) == 0 &&
	                strcmp(place->queue, word->place.queue) == 0);

	if (!again)
		word->matches++;
	if (again ? !is_there(spool, &word->place) : word->matches == 1)
		word->place = *place;
}

/* Matches all keys that are exactly the LEN characters at TEXT. */
static void match_exact(
    const struct index *index, const char *text, size_t len, const struct job_place *place)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct key *key = &index->key[middle];
		int order = strncmp(key->text, text, len);

		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < index->count && strncmp(index->key[low].text, text, len) == 0; low++)
		if (index->key[low].len == len)
			match(index->spool, index->key[low].word, place);
		else
			break; /* longer ones sort behind the exact ones */
}

static int match_place(void *arg, const struct job_place *place)
{
	const struct index *index = arg;

	if (!place->ours) {
		match_exact(index, place->file, strlen(place->file), place);
		return 0;
	}
	for (size_t len = SPOOL_PREFIX_MIN; len <= JOB_ID_LEN; len++)
		if (index->has_len[len])
			match_exact(index, place->name.id, len, place);
	return 0;
}

static int pass(struct spool *spool, const char *queue, struct index *index)
{
	int result = 0;

	for (enum job_state s = JOB_READY; result == 0 && s <= JOB_DONE; s++)
		result = spool_each(spool, queue, s, match_place, index);
	return result;
}

/* One queue that cannot be read, of another user's making maybe, must not hide the others.
 * The errno of the last such, or 0. */
static int search(struct spool *spool, const struct strings *queues, struct index *index)
{
	const char *only = queues->count == 1 ? queues->item[0] : NULL;
	int error = wait_each_job(spool, only, match_place, index) == 0 ? 0 : errno;

	for (size_t i = 0; i < queues->count; i++)
		if (pass(spool, queues->item[i], index) != 0 && errno != ENOENT)
			error = errno;
	return error;
}

static bool any_missing(const struct job_word *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (words[i].matches == 0)
			return true;
	return false;
}

int spool_find(struct spool *spool, const char *queue, struct job_word *words, size_t count)
{
	struct strings queues = {0};
	struct index index = {0};
	int result = queue ? strings_add(&queues, queue) : spool_queues(spool, &queues);
	int error = 0;

	if (result == 0)
		result = build_index(&index, words, count);
	index.spool = spool;
	for (int i = 0; result == 0 && i < PASSES && any_missing(words, count); i++)
		error = search(spool, &queues, &index);
	if (error != 0 && any_missing(words, count)) {
		errno = error;
		result = -1;
	}
	free(index.key);
	strings_release(&queues);
	return result;
}
