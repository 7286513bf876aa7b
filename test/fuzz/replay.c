/* Runs the fuzz target that it is linked with on each file of its corpus,
 * $top_srcdir/test/fuzz/corpus/TARGET, or on the files that are named. Speaks TAP. */
#include "fuzz.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <unistd.h>

static char *path_of(const char *directory, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		err(1, NULL);
	return path;
}

static void run(const char *path)
{
	FILE *file = fopen(path, "r");
	uint8_t *data = NULL;
	size_t size = 0;
	FILE *copy = open_memstream((char **)&data, &size);

	if (!file || !copy)
		err(1, "%s", path);
	for (int c; (c = getc(file)) != EOF;)
		putc(c, copy);
	if (ferror(file) || fclose(copy) == EOF)
		err(1, "%s", path);
	fclose(file);
	data = realloc(data, size ? size : 1); /* nothing behind it */
	if (!data)
		err(1, NULL);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

/* The name first: a broken promise ends the program. */
static void report(int number, const char *path)
{
	const char *slash = strrchr(path, '/');

	printf("# %s\n", path);
	fflush(stdout);
	run(path);
	printf("ok %d - %s\n", number, slash ? slash + 1 : path);
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_corpus(const char *target)
{
	const char *top = getenv("top_srcdir");
	char *corpora = path_of(top ? top : ".", "test/fuzz/corpus");
	char *directory = path_of(corpora, target);
	struct dirent **entry;
	int count = scandir(directory, &entry, is_input, alphasort);

	if (count < 0)
		err(1, "%s", directory);
	for (int i = 0; i < count; i++) {
		char *path = path_of(directory, entry[i]->d_name);

		report(i + 1, path);
		free(path);
		free(entry[i]);
	}
	free(entry);
	free(directory);
	free(corpora);
	return count;
}

int main(int argc, char **argv)
{
	int count = argc - 1;

	for (int i = 1; i < argc; i++)
		report(i, argv[i]);
	if (argc == 1)
		count = replay_corpus(program_invocation_short_name);
	printf("1..%d\n", count);
	return count == 0;
}
