/* The names in a directory, and what they lead to. */
#ifndef QSPOOL_SYS_DIR_H
#define QSPOOL_SYS_DIR_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

/* REGULAR is false where the directory itself says that NAME is no regular file. Other than 0 ends it. */
typedef int name_visit(void *arg, const char *name, bool regular);

/* Which names: those without a leading dot, or all but "." and "..". */
enum dir_names { EACH_VISIBLE, EACH_ALL };

/* Calls VISIT for each name in the directory FD, in any order, and closes FD. What comes or goes meanwhile may
 * be met or not. 0; -1 with errno, also that of opening it if FD is -1; or what VISIT returned to end it. */
__attribute__((warn_unused_result)) int dir_each(
    int fd, enum dir_names names, name_visit *visit, void *arg);

/* The same piece by piece: dir_some() goes on behind the name at which VISIT ended it. */
DIR *dir_read(int fd); /* owns FD; NULL with errno */
__attribute__((warn_unused_result)) int dir_some(
    DIR *dir, enum dir_names names, name_visit *visit, void *arg);
void dir_end(DIR **dir); /* NULL is fine; errno survives */

/* When a directory was changed last. */
struct dir_state {
	struct timespec changed; /* its ctime */
	bool known;              /* false: another change may leave the same */
};

/* How old a change must be to be known: more than a tick of the clock, and on another machine that may be a little behind. Where no parts of
 * seconds are told, AFAR is taken. */
enum dir_settled { DIR_SETTLED_HERE_MS = 100, DIR_SETTLED_AFAR_MS = 2000 };

/* Not known, either, if it cannot be looked at. */
struct dir_state dir_state(int fd, enum dir_settled settled);
/* Whether no name came or went since THEN. */
bool dir_unchanged(const struct dir_state *then, const struct dir_state *now);

bool same_file(const struct stat *a, const struct stat *b);
/* Whether NAME in the directory DIR leads to FILE; a symbolic link does not. */
bool dir_leads_to(int dir, const char *name, const struct stat *file);

#endif
