#include "sys/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/files.h"

static bool is_one_of(enum dir_names names, const char *name)
{
	if (name[0] != '.')
		return true;
	return names == EACH_ALL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

DIR *dir_read(int fd)
{
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		sys_discard(&fd);
	return dir;
}

int dir_some(DIR *dir, enum dir_names names, name_visit *visit, void *arg)
{
	struct dirent *entry;
	int result = 0;

	while (result == 0 && (errno = 0, entry = readdir(dir)) != NULL)
		if (is_one_of(names, entry->d_name))
			result = visit(arg, entry->d_name,
			    entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN);
	return result == 0 && errno != 0 ? -1 : result;
}

void dir_end(DIR **dir)
{
	int saved = errno;

	if (*dir)
		closedir(*dir);
	*dir = NULL;
	errno = saved;
}

int dir_each(int fd, enum dir_names names, name_visit *visit, void *arg)
{
	DIR *dir = dir_read(fd);
	int result = dir ? dir_some(dir, names, visit, arg) : -1;

	dir_end(&dir);
	return result;
}

static bool is_settled(struct timespec changed, enum dir_settled settled)
{
	int64_t ms = (int64_t)changed.tv_sec * 1000 + changed.tv_nsec / 1000000;

	if (changed.tv_nsec == 0)
		settled = DIR_SETTLED_AFAR_MS;
	return ms > 0 && ms + (int64_t)settled < clock_stamp_ms(); /* 0: it is not known */
}

struct dir_state dir_state(int fd, enum dir_settled settled)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return (struct dir_state){.known = false};
	return (struct dir_state){.changed = st.st_ctim, .known = is_settled(st.st_ctim, settled)};
}

bool dir_unchanged(const struct dir_state *then, const struct dir_state *now)
{
	return then->known && then->changed.tv_sec == now->changed.tv_sec &&
	    then->changed.tv_nsec == now->changed.tv_nsec;
}

bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

bool dir_leads_to(int dir, const char *name, const struct stat *file)
{
	struct stat found;

	return fstatat(dir, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && same_file(&found, file);
}
