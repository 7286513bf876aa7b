/*
 * replay DIR: rebuilds the disk of DIR (log.h; DIR/base is what it held at position 0) as a
 * power cut may have left it. Each line of standard input asks for one state:
 *
 *   POSITION KEEP IMAGE
 *
 * POSITION records had been carried out when the power failed. What was written up to the last
 * flush among them is on the disk. Of the records behind that flush KEEP says what is: "none",
 * "all", or, if it is a number, a random choice of which the number is the seed: each is kept or
 * lost, and of some of the large writes each block of 4 KiB by itself. The sparse file IMAGE is
 * made anew, and "done" is printed.
 *
 * One line after the other is cheapest with rising positions: the disk is then carried on, not
 * begun again.
 */
#include <bsd/err.h>
#include <bsd/string.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

enum { BLOCK = 4096, CHUNK = 16 * BLOCK };

static const char *dir;
static const struct record *records;
static size_t record_count;
static const unsigned char *data;

/* The disk at the last flush that was asked for: `applied` records were carried out. */
static unsigned char *disk;
static size_t disk_size, applied;
static bool *touched; /* chunks of the disk that may hold something */

static char *path_of(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		err(EXIT_FAILURE, NULL);
	return path;
}

/* The whole of a file of DIR, to be read. */
static const void *map_file(const char *name, size_t *size)
{
	char *path = path_of(name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(EXIT_FAILURE, "%s", path);
	*size = (size_t)st.st_size;
	/* one byte more: an empty file cannot be mapped */
	map = mmap(NULL, *size + 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		err(EXIT_FAILURE, "%s", path);
	close(fd);
	free(path);
	return map;
}

static void touch(uint64_t offset, uint64_t length)
{
	if (offset + length > disk_size)
		errx(EXIT_FAILURE, "%s: a record that is not on the disk", dir);
	for (uint64_t chunk = offset / CHUNK; chunk * CHUNK < offset + length; chunk++)
		touched[chunk] = true;
}

/* Fills the disk with what it held before the first record. */
static void begin(void)
{
	char *path = path_of("base");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t from, to = 0;

	if (fd < 0)
		err(EXIT_FAILURE, "%s", path);
	if (disk)
		munmap(disk, disk_size);
	disk_size = (size_t)lseek(fd, 0, SEEK_END);
	disk = mmap(NULL, disk_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	free(touched);
	touched = calloc(disk_size / CHUNK + 1, sizeof *touched);
	if (disk == MAP_FAILED || !touched)
		err(EXIT_FAILURE, NULL);
	while ((from = lseek(fd, to, SEEK_DATA)) >= 0) {
		to = lseek(fd, from, SEEK_HOLE);
		touch((uint64_t)from, (uint64_t)(to - from));
		for (off_t at = from; at < to;) {
			ssize_t n = pread(fd, disk + at, (size_t)(to - at), at);

			if (n <= 0)
				err(EXIT_FAILURE, "%s", path);
			at += n;
		}
	}
	close(fd);
	free(path);
	applied = 0;
}

static void apply(const struct record *record)
{
	if (record->kind == RECORD_FLUSH)
		return;
	touch(record->offset, record->length);
	if (record->kind == RECORD_WRITE)
		memcpy(disk + record->offset, data + record->data, record->length);
	else
		memset(disk + record->offset, 0, record->length);
}

/* How many records the last flush among the first POSITION ones makes safe. */
static size_t flushed_at(size_t position)
{
	while (position > 0 && records[position - 1].kind != RECORD_FLUSH)
		position--;
	return position;
}

static void carry_on(size_t position)
{
	if (!disk || position < applied)
		begin();
	while (applied < position)
		apply(&records[applied++]);
}

/* --- what was not flushed -------------------------------------------------- */

struct chance {
	uint64_t state;
	unsigned keep; /* of eight */
};

/* splitmix64 */
static unsigned draw(struct chance *chance, unsigned limit)
{
	uint64_t z = chance->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (unsigned)((z ^ z >> 31) % limit);
}

static void put(int fd, const unsigned char *bytes, uint64_t length, uint64_t offset)
{
	if (pwrite(fd, bytes, length, (off_t)offset) != (ssize_t)length)
		err(EXIT_FAILURE, "the image");
}

static void put_record(int fd, const struct record *record)
{
	if (record->kind == RECORD_WRITE)
		put(fd, data + record->data, record->length, record->offset);
	else if (record->kind == RECORD_DISCARD &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)record->offset,
	        (off_t)record->length) != 0)
		err(EXIT_FAILURE, "the image");
}

static bool kept(struct chance *chance)
{
	return draw(chance, 8) < chance->keep;
}

static void put_torn(int fd, const struct record *record, struct chance *chance)
{
	for (uint64_t at = 0; at < record->length; at += BLOCK) {
		uint64_t rest = record->length - at;

		if (kept(chance))
			put(fd, data + record->data + at, rest < BLOCK ? rest : BLOCK,
			    record->offset + at);
	}
}

/* Few are kept, half of them, or nearly all: each finds other mistakes. */
static void put_some(int fd, size_t from, size_t to, uint64_t seed)
{
	struct chance chance = {.state = seed};

	chance.keep = ((unsigned[]){1, 4, 7})[draw(&chance, 3)];
	for (size_t i = from; i < to; i++) {
		const struct record *record = &records[i];

		if (record->kind == RECORD_WRITE && record->length > BLOCK && draw(&chance, 2))
			put_torn(fd, record, &chance);
		else if (kept(&chance))
			put_record(fd, record);
	}
}

/* --- the image ------------------------------------------------------------- */

static int create_image(const char *path)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)disk_size) != 0)
		err(EXIT_FAILURE, "%s", path);
	for (uint64_t at = 0; at < disk_size; at += CHUNK)
		if (touched[at / CHUNK])
			put(fd, disk + at, disk_size - at < CHUNK ? disk_size - at : CHUNK, at);
	return fd;
}

static void rebuild(size_t position, const char *keep, const char *path)
{
	size_t flushed = flushed_at(position);
	int fd;

	carry_on(flushed);
	fd = create_image(path);
	if (strcmp(keep, "all") == 0)
		for (size_t i = flushed; i < position; i++)
			put_record(fd, &records[i]);
	else if (strcmp(keep, "none") != 0)
		put_some(fd, flushed, position, strtoull(keep, NULL, 10));
	if (close(fd) != 0)
		err(EXIT_FAILURE, "%s", path);
}

int main(int argc, char **argv)
{
	char line[4096], keep[32], path[4001];
	size_t position, size;

	if (argc != 2)
		errx(EXIT_FAILURE, "usage: replay DIR");
	dir = argv[1];
	records = map_file("index", &size);
	record_count = size / sizeof *records;
	data = map_file("data", &size);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%zu %31s %4000[^\n]", &position, keep, path) != 3 ||
		    position > record_count)
			errx(EXIT_FAILURE, "not a state of %s: %s", dir, line);
		rebuild(position, keep, path);
		puts("done");
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}
