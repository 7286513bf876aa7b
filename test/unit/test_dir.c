/* Reading a directory, and asking what its names lead to. */
#include "sys/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "sys/files.h"
#include "unit.h"

static char path[] = "/tmp/qspool-unit.XXXXXX";

static void make(int dir, const char *name)
{
	int fd = sys_create(dir, name, 0600);

	CHECK(fd >= 0);
	sys_discard(&fd);
}

/* With a file, a hidden one, a directory and a symbolic link to the file in it. */
static int begin(void)
{
	int dir;

	snprintf(path, sizeof path, "/tmp/qspool-unit.XXXXXX");
	CHECK(mkdtemp(path) != NULL);
	dir = sys_opendir(AT_FDCWD, path);
	make(dir, "file");
	make(dir, ".hidden");
	CHECK(sys_mkdir(dir, "directory", 0700) == 0);
	CHECK(symlinkat("file", dir, "symlink") == 0);
	return dir;
}

static void end(int dir)
{
	CHECK(sys_unlink(dir, "file") == 0 && sys_unlink(dir, ".hidden") == 0 &&
	    sys_unlink(dir, "symlink") == 0 && sys_rmdir(dir, "directory") == 0);
	CHECK(rmdir(path) == 0);
	sys_discard(&dir);
}

struct seen {
	unsigned names, hidden, regular;
	int stop, error; /* what a visit returns, and with which errno */
};

static int see(void *arg, const char *name, bool regular)
{
	struct seen *seen = arg;

	seen->names++;
	seen->hidden += name[0] == '.';
	seen->regular += regular;
	errno = seen->error;
	return seen->stop;
}

static void names_are_visited_once(void)
{
	int dir = begin();
	struct seen seen = {.names = 0};

	CHECK_INT(dir_each(sys_opendir(dir, "."), EACH_VISIBLE, see, &seen), 0);
	CHECK_INT(seen.names, 3);
	CHECK_INT(seen.hidden, 0);
	CHECK(seen.regular >= 1);
	seen = (struct seen){.names = 0};
	CHECK_INT(dir_each(sys_opendir(dir, "."), EACH_ALL, see, &seen), 0);
	CHECK_INT(seen.names, 4);
	CHECK_INT(seen.hidden, 1);
	end(dir);
}

/* An errno that a visit leaves behind is no error of reading. */
static void a_visit_that_goes_on_says_nothing(void)
{
	int dir = begin();
	struct seen seen = {.error = EIO};

	CHECK_INT(dir_each(sys_opendir(dir, "."), EACH_ALL, see, &seen), 0);
	CHECK_INT(seen.names, 4);
	end(dir);
}

static void a_visit_ends_it(void)
{
	int dir = begin();
	struct seen seen = {.stop = -1, .error = EBADMSG};

	errno = 0;
	CHECK_INT(dir_each(sys_opendir(dir, "."), EACH_ALL, see, &seen), -1);
	CHECK_INT(errno, EBADMSG);
	CHECK_INT(seen.names, 1);
	seen.stop = 7;
	CHECK_INT(dir_each(sys_opendir(dir, "."), EACH_ALL, see, &seen), 7);
	end(dir);
}

static void the_descriptor_is_closed(void)
{
	int dir = begin(), fd = sys_opendir(dir, "."), file = openat(dir, "file", O_RDONLY);
	struct seen seen = {.names = 0};

	CHECK_INT(dir_each(fd, EACH_ALL, see, &seen), 0);
	CHECK(fcntl(fd, F_GETFD) < 0);
	seen.names = 0;
	CHECK_INT(dir_each(file, EACH_ALL, see, &seen), -1);
	CHECK_INT(errno, ENOTDIR);
	CHECK(fcntl(file, F_GETFD) < 0);
	CHECK_INT(dir_each(sys_opendir(dir, "nowhere"), EACH_ALL, see, &seen), -1);
	CHECK_INT(errno, ENOENT);
	CHECK_INT(seen.names, 0);
	end(dir);
}

static void a_name_leads_to_its_file_only(void)
{
	int dir = begin();
	struct stat file, hidden;

	CHECK(fstatat(dir, "file", &file, 0) == 0 && fstatat(dir, ".hidden", &hidden, 0) == 0);
	CHECK(same_file(&file, &file) && !same_file(&file, &hidden));
	CHECK(dir_leads_to(dir, "file", &file));
	CHECK(!dir_leads_to(dir, ".hidden", &file));
	CHECK(!dir_leads_to(dir, "symlink", &file));
	CHECK(!dir_leads_to(dir, "nowhere", &file));
	end(dir);
}

int main(void)
{
	return UNIT_RUN(TEST(names_are_visited_once), TEST(a_visit_that_goes_on_says_nothing),
	    TEST(a_visit_ends_it), TEST(the_descriptor_is_closed),
	    TEST(a_name_leads_to_its_file_only));
}
