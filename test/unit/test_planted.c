/* What somebody who may write a directory plants in it between two system calls of ours. */
#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/files.h"
#include "unit.h"

static int dir;
static const char *planted_at; /* the call before or after which something is planted */
static void (*plant)(void);

/* NOLINTNEXTLINE(readability-non-const-parameter): struct sys_hook says so */
static int before(const char *call, int fd, const char *name, size_t *len)
{
	(void)fd, (void)name, (void)len;
	if (plant && strcmp(call, "create") == 0 && strcmp(planted_at, "create") == 0)
		plant();
	return 0;
}

static void after(const char *call, int fd, const char *name, int error)
{
	(void)fd, (void)name, (void)error;
	if (plant && strcmp(call, "mkdir") == 0 && strcmp(planted_at, "mkdir") == 0)
		plant();
}

static const struct sys_hook hook = {before, after};

/* A directory of its own for each test, writable by the group. */
static void begin(const char *call, void (*what)(void))
{
	char path[] = "/tmp/qspool-unit.XXXXXX";

	CHECK(mkdtemp(path) != NULL);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && fchmod(dir, 0770) == 0 && chdir(path) == 0);
	planted_at = call;
	plant = what;
	sys_hook = &hook;
}

static void end(void)
{
	char path[64] = "";

	sys_hook = NULL;
	CHECK(getcwd(path, sizeof path) != NULL && chdir("/") == 0);
	unlinkat(dir, "private", 0);
	unlinkat(dir, "log", 0);
	unlinkat(dir, "aside", AT_REMOVEDIR);
	unlinkat(dir, "queue", AT_REMOVEDIR);
	unlinkat(dir, "name", AT_REMOVEDIR);
	CHECK(rmdir(path) == 0);
	close(dir);
}

static void make(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0 && fchmod(fd, mode) == 0);
	close(fd);
}

static mode_t mode_of(const char *name)
{
	struct stat st = {0};

	CHECK(lstat(name, &st) == 0);
	return st.st_mode & 07777;
}

static void link_private(void)
{
	make("private", 0600);
	CHECK(link("private", "log") == 0);
}

static void a_link_planted_before_a_file_is_created_is_not_opened(void)
{
	begin("create", link_private);
	CHECK_INT(sys_append(dir, "log", 0660), -1);
	CHECK_INT(errno, EEXIST);
	CHECK_INT(mode_of("private"), 0600);
	end();
}

static void appending_to_a_link_is_refused(void)
{
	begin("", NULL);
	link_private();
	CHECK_INT(sys_append(dir, "log", 0660), -1);
	CHECK_INT(errno, EMLINK);
	end();
}

static void appending_to_what_a_backup_has_linked_is_not(void)
{
	int fd;

	begin("", NULL);
	make("private", 0660);
	CHECK(link("private", "log") == 0);
	fd = sys_append(dir, "log", 0660);
	CHECK(fd >= 0);
	close(fd);
	end();
}

static void appending_to_a_fifo_is_refused(void)
{
	int reader;

	begin("", NULL);
	CHECK(mkfifo("log", 0660) == 0);
	reader = open("log", O_RDONLY | O_NONBLOCK);
	CHECK_INT(sys_append(dir, "log", 0660), -1);
	CHECK_INT(errno, EINVAL);
	close(reader);
	end();
}

static void appending_to_what_the_group_could_not_write_is_refused(void)
{
	begin("", NULL);
	make("log", 0644);
	CHECK_INT(sys_append(dir, "log", 0660), -1);
	CHECK_INT(errno, EPERM);
	end();
}

static void a_file_is_created_and_appended_to(void)
{
	int first, second;

	begin("", NULL);
	first = sys_append(dir, "log", 0660);
	second = sys_append(dir, "log", 0660);
	CHECK(first >= 0 && second >= 0);
	CHECK_INT(mode_of("log"), 0660);
	close(first);
	close(second);
	end();
}

static void replace_directory(void)
{
	CHECK(rename("name", "aside") == 0 && rename("queue", "name") == 0);
}

static void a_directory_put_in_the_place_of_a_new_one_keeps_its_mode(void)
{
	begin("mkdir", replace_directory);
	CHECK(mkdir("queue", 0750) == 0 && chmod("queue", 0750) == 0);
	CHECK_INT(sys_mkdir(dir, "name", 02770), -1);
	CHECK_INT(errno, EEXIST);
	CHECK_INT(mode_of("name"), 0750);
	end();
}

/* A sender that waited for a writer would wait for ever. */
static void syncing_options_that_became_a_fifo_fails(void)
{
	static const char id[] = "1htj2wjerfcrn6j6b2x1";
	char path[64] = "";
	struct spool *spool;
	struct queue queue;

	begin("", NULL);
	CHECK(mkdir("name", 0700) == 0 && getcwd(path, sizeof path) != NULL);
	spool = spool_open(path, false);
	CHECK(spool != NULL);
	if (!spool || queue_open(&queue, spool, "name", true) != 0)
		abort();
	CHECK(mkfifoat(queue.dir[DIR_META], id, 0660) == 0);
	alarm(60);
	CHECK_INT(meta_sync(&queue, id), -1);
	alarm(0);
	CHECK(unlinkat(queue.dir[DIR_META], id, 0) == 0);
	for (enum queue_dir i = 0; i < QUEUE_DIRS; i++)
		CHECK(!queue_dir_always(i) ||
		    unlinkat(queue.fd, queue_dir_name[i], AT_REMOVEDIR) == 0);
	queue_close(&queue);
	spool_close(spool);
	end();
}

static void who_may_write_the_directory_must_reach_the_file(void)
{
	struct stat top = {0}, file = {0};

	begin("", NULL);
	CHECK(fstat(dir, &top) == 0);
	file.st_mode = S_IFREG | 0660;
	CHECK(sys_within_reach(dir, &file));
	file.st_mode = S_IFREG | 0640;
	CHECK(!sys_within_reach(dir, &file));
	file.st_mode = S_IFREG | 0660;
	file.st_gid = top.st_gid + 1;
	CHECK(sys_within_reach(dir, &file)); /* without setgid files have many groups */
	CHECK(fchmod(dir, 02770) == 0);
	CHECK(!sys_within_reach(dir, &file));
	CHECK(fchmod(dir, 0700) == 0);
	file.st_mode = S_IFREG | 0600;
	CHECK(sys_within_reach(dir, &file));
	end();
}

int main(void)
{
	return UNIT_RUN(TEST(a_link_planted_before_a_file_is_created_is_not_opened),
	    TEST(appending_to_a_link_is_refused),
	    TEST(appending_to_what_a_backup_has_linked_is_not),
	    TEST(appending_to_a_fifo_is_refused),
	    TEST(appending_to_what_the_group_could_not_write_is_refused),
	    TEST(a_file_is_created_and_appended_to),
	    TEST(a_directory_put_in_the_place_of_a_new_one_keeps_its_mode),
	    TEST(syncing_options_that_became_a_fifo_fails),
	    TEST(who_may_write_the_directory_must_reach_the_file));
}
