/*
 * The jobs of the power-cut test, which tell by themselves whether they are whole.
 *
 *   job make SERIAL:SIZE[:meta]...
 *       Prints payloads, each one line of SIZE bytes: "powercut", its serial number, SIZE, "meta" or
 *       "bare", then characters that follow from the serial number.
 *   job run EVENTS INDEX [fail]
 *       The handler. Verifies the payload on standard input and, of "meta" ones, what its meta
 *       brought; notes in EVENTS what it saw. With "fail" it fails now and then, as the serial says.
 *   job look SPOOL
 *       Prints "PARENT DIR NAME INODE SIZE SERIAL" of each file in a state directory or tmp/: PARENT is the
 *       queue, or ".wait". SERIAL is 0 of an empty file, and "torn" of one that is not what was sent.
 *   job remove DIR BESIDE EVENTS INDEX NAME...
 *       Removes the names of jobs from DIR, one after the other: makes and syncs that name in BESIDE,
 *       syncs DIR, and notes in EVENTS that the job was deleted.
 *
 * A line of EVENTS is "POSITION WHAT ID SERIAL", POSITION being the number of records in the
 * disk's log, INDEX (log.h). It is read first and written before the handler ends, so what
 * the event allows (the job may be gone) can only happen later.
 */
#include <bsd/err.h>
#include <bsd/string.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "sys/files.h"

struct payload {
	uint64_t serial;
	size_t size;
	bool meta;
};

enum { EMPTY_PRIORITY = 99, TORN_STATUS = 65, FAILED_STATUS = 1 };

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* --- payloads -------------------------------------------------------------- */

/* The payload, malloc'd. Its size is at least that of its header and newline. */
static char *make(struct payload *payload)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char header[80], *text;
	size_t length;

	length = (size_t)snprintf(header, sizeof header, "powercut %" PRIu64 " %zu %s ",
	    payload->serial, payload->size, payload->meta ? "meta" : "bare");
	if (payload->size < length + 1)
		errx(EXIT_FAILURE, "too small: %zu", payload->size);
	text = malloc(payload->size + 1);
	if (!text)
		err(EXIT_FAILURE, NULL);
	memcpy(text, header, length);
	for (size_t i = length; i < payload->size - 1; i++)
		text[i] = alphabet[mix(payload->serial << 32 | i) & 63];
	text[payload->size - 1] = '\n';
	text[payload->size] = '\0';
	return text;
}

/* Fills PAYLOAD from what TEXT, with a NUL behind it, says of itself. */
static bool verify(const char *text, size_t size, struct payload *payload)
{
	char kind[5], *right;
	bool same;

	if (sscanf(text, "powercut %" SCNu64 " %zu %4s ", &payload->serial, &payload->size, kind) !=
	        3 ||
	    payload->size != size)
		return false;
	payload->meta = strcmp(kind, "meta") == 0;
	right = make(payload);
	same = memcmp(text, right, size) == 0;
	free(right);
	return same;
}

/* All of a file, malloc'd, with a NUL behind it. */
static char *read_all(int fd, size_t *size)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		err(EXIT_FAILURE, "fstat");
	text = calloc(1, (size_t)st.st_size + 1);
	if (!text)
		err(EXIT_FAILURE, NULL);
	for (*size = 0; *size < (size_t)st.st_size; *size += (size_t)n) {
		n = read(fd, text + *size, (size_t)st.st_size - *size);
		if (n < 0)
			err(EXIT_FAILURE, "read");
		if (n == 0)
			break;
	}
	return text;
}

static int make_all(char **words)
{
	for (; *words; words++) {
		char kind[5] = "";
		struct payload payload = {0};
		char *text;

		if (sscanf(*words, "%" SCNu64 ":%zu:%4s", &payload.serial, &payload.size, kind) < 2)
			errx(EXIT_FAILURE, "not a payload: %s", *words);
		payload.meta = *kind != '\0';
		text = make(&payload);
		fputs(text, stdout);
		free(text);
	}
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- the handler ----------------------------------------------------------- */

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static void note(char **argv, const char *what, const char *id, uint64_t serial)
{
	int fd = open(argv[0], O_WRONLY | O_APPEND | O_CLOEXEC);
	struct stat st;

	if (stat(argv[1], &st) != 0)
		err(EXIT_FAILURE, "%s", argv[1]);
	if (fd < 0 ||
	    dprintf(fd, "%zu %s %.20s %" PRIu64 "\n", (size_t)st.st_size / sizeof(struct record),
	        what, id, serial) < 0)
		err(EXIT_FAILURE, "%s", argv[0]);
	close(fd);
}

/* What meta/ID holds comes in an environment variable, a header and an argument. */
static bool meta_is_right(const struct payload *payload, const char *argument)
{
	char serial[24];

	snprintf(serial, sizeof serial, "%" PRIu64, payload->serial);
	if (!payload->meta)
		return !argument && !*variable("POWERCUT");
	return argument && strcmp(argument, serial) == 0 &&
	    strcmp(variable("POWERCUT"), serial) == 0 &&
	    strcmp(variable("QJOB_HEADER_SERIAL"), serial) == 0;
}

/* A seventh fails always, and a third of the others at the first attempt. */
static bool shall_fail(uint64_t serial)
{
	uint64_t chance = mix(serial);

	return serial > 0 &&
	    (chance % 7 == 0 || (chance % 3 == 0 && strcmp(variable("QJOB_ATTEMPT"), "1") == 0));
}

static bool is_last_attempt(void)
{
	return strcmp(variable("QJOB_ATTEMPT"), variable("QJOB_ATTEMPTS")) == 0;
}

static int run(char **argv)
{
	bool fail = argv[2] && strcmp(argv[2], "fail") == 0;
	const char *argument = argv[2] ? argv[2 + fail] : NULL;
	struct payload payload = {0};
	size_t size;
	char *text = read_all(STDIN_FILENO, &size);
	bool whole = size == 0 ? atoi(variable("QJOB_PRIORITY")) == EMPTY_PRIORITY
	                       : verify(text, size, &payload);

	free(text);
	if (!whole || !meta_is_right(&payload, argument)) {
		note(argv, "torn", variable("QJOB_ID"), payload.serial);
		return TORN_STATUS;
	}
	if (fail) /* not too quick: the power shall fail while it runs, too */
		usleep((useconds_t)(mix(payload.serial) % 20000));
	if (fail && shall_fail(payload.serial)) {
		note(argv, is_last_attempt() ? "gave-up" : "failed", variable("QJOB_ID"),
		    payload.serial);
		return FAILED_STATUS;
	}
	note(argv, "ran", variable("QJOB_ID"), payload.serial);
	return EXIT_SUCCESS;
}

/* --- looking --------------------------------------------------------------- */

static void look_at(int dir, const char *place, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct payload payload = {0};
	struct stat st;
	size_t size;
	char *text;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(EXIT_FAILURE, "%s/%s", place, name);
	text = read_all(fd, &size);
	printf("%s %s %ju %zu ", place, name, (uintmax_t)st.st_ino, size);
	if (size > 0 && !verify(text, size, &payload))
		puts("torn");
	else
		printf("%" PRIu64 "\n", payload.serial);
	free(text);
	close(fd);
}

/* PARENT/NAME, which some queues lack. */
static DIR *open_place(int spool, const char *parent, const char *name)
{
	char path[512];
	DIR *dir;
	int fd;

	snprintf(path, sizeof path, "%s/%s", parent, name);
	fd = openat(spool, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && errno != ENOENT)
		err(EXIT_FAILURE, "%s", path);
	return dir;
}

static void look_into(int spool, const char *parent, const char *name)
{
	DIR *dir = open_place(spool, parent, name);
	struct dirent *entry;
	char place[512];

	snprintf(place, sizeof place, "%s %s", parent, name);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			look_at(dirfd(dir), place, entry->d_name);
	if (dir)
		closedir(dir);
}

static void look_at_waiting(int spool)
{
	DIR *dir = open_place(spool, ".wait", ".");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			look_into(spool, ".wait", entry->d_name);
	if (dir)
		closedir(dir);
}

static int look(const char *path)
{
	static const char *const names[] = {"tmp", "new", "delay", "cur", "buried", "done"};
	struct dirent *entry;
	DIR *spool = opendir(path);

	if (!spool)
		err(EXIT_FAILURE, "%s", path);
	while ((entry = readdir(spool)))
		for (size_t i = 0; entry->d_name[0] != '.' && i < sizeof names / sizeof *names; i++)
			look_into(dirfd(spool), entry->d_name, names[i]);
	look_at_waiting(dirfd(spool));
	closedir(spool);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- removing -------------------------------------------------------------- */

static int remove_all(char **argv)
{
	int dir = sys_opendir(AT_FDCWD, argv[0]), beside = sys_opendir(AT_FDCWD, argv[1]);

	for (char **name = argv + 4; *name; name++) {
		int fd = sys_unlink(dir, *name) == 0 ? sys_create(beside, *name, 0600) : -1;

		if (fd < 0 || sys_fsync(fd) != 0 || sys_close(fd) != 0 || sys_fsync(dir) != 0)
			err(EXIT_FAILURE, "%s", *name);
		note(argv + 2, "delete", strchr(*name, '.') + 1, 0);
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "make") == 0)
		return make_all(argv + 2);
	if (argc > 3 && strcmp(argv[1], "run") == 0)
		return run(argv + 2);
	if (argc == 3 && strcmp(argv[1], "look") == 0)
		return look(argv[2]);
	if (argc > 5 && strcmp(argv[1], "remove") == 0)
		return remove_all(argv + 2);
	errx(EXIT_FAILURE,
	    "usage: job make PAYLOAD... | run EVENTS INDEX [fail] | look SPOOL |"
	    " remove DIR BESIDE EVENTS INDEX NAME...");
}
