/* What the models share: names of files, their locks, and processes that die.
 *
 * A model defines NAMES and INODES before it includes this. A job's name is an index of name[],
 * which leads to its inode, or to 0 if nothing has that name. Each inline here is a system call,
 * and so is each "atomic { MAY_DIE; d_step { ... } }" of a model; between any two the other processes
 * run. A process that is `mortal` may end right before each of its calls, CRASHES times in all
 * processes together: the kernel drops its locks, and it goes on at its label `died`. */

byte name[NAMES];
byte nlink[INODES]; /* names of that inode */
byte lock[INODES];  /* the process that holds its flock, 0: none */
byte crashes;
byte drop; /* only counts */

#ifndef AT_DEATH /* what else ends with a process */
#define AT_DEATH skip
#endif

#define DROP_LOCKS                                                                   \
	d_step {                                                                     \
		for (drop : 1 .. INODES - 1) {                                       \
			if                                                           \
			:: lock[drop] == _pid -> lock[drop] = 0                      \
			:: else                                                      \
			fi                                                           \
		}                                                                    \
		drop = 0                                                             \
	}

#define DIE crashes++; AT_DEATH; DROP_LOCKS; goto died
#define MAY_DIE                                                                      \
	if                                                                           \
	:: mortal && crashes < CRASHES -> DIE                                        \
	:: true                                                                      \
	fi

/* open(2) with O_EXCL, and flock(2). */
inline create(n, i)
{
	atomic {
		MAY_DIE;
		d_step { name[n] = i; nlink[i] = 1; lock[i] = _pid }
	}
}

inline link_name(from, to, ok)
{
	atomic {
		MAY_DIE;
		d_step {
			ok = (name[from] != 0 && name[to] == 0);
			if
			:: ok -> name[to] = name[from]; nlink[name[to]]++
			:: else
			fi
		}
	}
}

inline unlink_name(n, ok)
{
	atomic {
		MAY_DIE;
		d_step {
			ok = (name[n] != 0);
			if
			:: ok -> nlink[name[n]]--; name[n] = 0
			:: else
			fi
		}
	}
}

/* Rule NOREPLACE. */
inline rename_name(from, to, ok)
{
	atomic {
		MAY_DIE;
		d_step {
#ifndef NO_NOREPLACE
			ok = (name[from] != 0 && name[to] == 0);
#else
			ok = (name[from] != 0);
#endif
			if
			:: ok -> name[to] = name[from]; name[from] = 0
			:: else
			fi
		}
	}
}

/* Locks the inode i, which was opened as the name n, if nobody has it, and looks whether n still
 * leads there: rules LOCK and CHECK. */
inline hold(n, i, ok)
{
	atomic {
		MAY_DIE;
		d_step {
#ifndef NO_LOCK
			ok = (lock[i] == 0);
#else
			ok = true;
#endif
#ifndef NO_CHECK
			ok = (ok && name[n] == i);
#endif
			if
			:: ok -> lock[i] = _pid
			:: else
			fi
		}
	}
}

inline unlock(i)
{
	d_step {
		if
		:: lock[i] == _pid -> lock[i] = 0
		:: else
		fi
	}
}
