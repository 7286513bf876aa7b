/* Claim, finish, retry, recover: a person drops a file under a name, and another one under the same as
 * soon as that is free; two qworks, one of which may die, with handlers that outlive it and may leave
 * a process behind.
 *
 * Promises: no job runs twice at the same time, nor more often than it has attempts, nor once it is
 * over; what runs is what was locked; in the end each job is over or buried; no file is replaced.
 *
 * Rules: NO_LOCK NO_CHECK NO_NOREPLACE NO_LEASE NO_COUNT NO_UNLOCK */
#ifndef CRASHES
#define CRASHES 1
#endif
#define ATTEMPTS 2

#define INODES 4
#define COPY 3 /* a copy of the first job that somebody keeps in buried/ */
#define NEW 0  /* new/X: a foreign name, which T4 gives an id, here the number of the inode */
#define CUR(i, n) (1 + ((i) - 1) * 3 + (n))
#define DELAY(i, n) (7 + ((i) - 1) * 3 + (n))
#define BURIED(i) (12 + (i))
#define NEXT_BURIED 15 /* the name of the first job with the next free N */
#define NAMES 16

#define QWORK(q) (1 + (q)) /* pids, see init */
#define HANDLER(q) (3 + (q))
#define LEFT_BEHIND 9
byte runs[2]; /* the inode that is the standard input of the handler of a qwork */
/* LEASE: the handler goes on to hold what its qwork had locked. */
#ifndef NO_LEASE
#define AT_DEATH d_step {                                                            \
	if                                                                           \
	:: runs[_pid - 1] != 0 -> lock[runs[_pid - 1]] = HANDLER(_pid - 1)           \
	:: else                                                                      \
	fi                                                                           \
}
#endif
#include "spool.pml"

bool done[2], failed[2], left[2], over[INODES];
byte starts[INODES];
bool copied;

/* T4, T3: the attempt is counted by the rename. */
#ifndef NO_COUNT
#define CLAIMED(n) ((n) + 1)
#define RETRIED(n) (n)
#else
#define CLAIMED(n) (n)
#define RETRIED(n) ((n) + 1)
#endif

inline bury(i, n, ok)
{
	rename_name(CUR(i, n), BURIED(i), ok);
	if
	:: !ok && i == 1 -> rename_name(CUR(i, n), NEXT_BURIED, ok)
	:: else
	fi
}

/* UNLOCK: by hand, whoever has inherited it. */
inline unlock_all(q, i)
{
	d_step {
		if
#ifndef NO_UNLOCK
		:: lock[i] == _pid -> lock[i] = 0
#else
		:: lock[i] == _pid -> lock[i] = (left[q] -> LEFT_BEHIND : 0)
#endif
		:: else
		fi;
		left[q] = false
	}
}

inline run_handler(q, i)
{
	d_step {
		assert(runs[0] != i && runs[1] != i && !over[i]);
		assert(starts[i] < ATTEMPTS);
		starts[i]++;
		runs[q] = i;
		done[q] = false
	}
}

proctype handler(byte q)
{
end:
	do
	:: atomic {
		runs[q] != 0 ->
		if
		:: failed[q] = true
		:: failed[q] = false
		fi;
		if
		:: left[q] = true
		:: left[q] = false
		fi;
		d_step {
			if
			:: lock[runs[q]] == HANDLER(q) ->
				lock[runs[q]] = (left[q] -> LEFT_BEHIND : 0)
			:: else
			fi;
			runs[q] = 0;
			done[q] = true
		}
	   }
	od
}

/* What is locked is tried again later. */
#define free(x) (name[x] != 0 && lock[name[x]] == 0)

inline found(x, n, i)
{
	if
	:: free(NEW) -> x = NEW; n = 0
	:: free(DELAY(1, 0)) -> x = DELAY(1, 0); n = 0
	:: free(DELAY(1, 1)) -> x = DELAY(1, 1); n = 1
	:: free(DELAY(2, 1)) -> x = DELAY(2, 1); n = 1
	fi;
	i = name[x]
}

inline found_cur(x, n, i)
{
	if
	:: free(CUR(1, 0)) -> x = CUR(1, 0); n = 0
	:: free(CUR(1, 1)) -> x = CUR(1, 1); n = 1
	:: free(CUR(1, 2)) -> x = CUR(1, 2); n = 2
	:: free(CUR(2, 1)) -> x = CUR(2, 1); n = 1
	:: free(CUR(2, 2)) -> x = CUR(2, 2); n = 2
#ifdef NO_LOCK
	:: name[CUR(1, 1)] != 0 && lock[name[CUR(1, 1)]] != _pid -> x = CUR(1, 1); n = 1
#endif
	fi;
	i = name[x]
}

proctype qwork(byte q; bool mortal)
{
	byte x, n, i;
	bool ok;

end:
	do
	:: atomic { found(x, n, i) }; /* open(2) */
		hold(x, i, ok);
		if
		:: ok ->
			atomic { /* T3, T4. Commit. */
				rename_name(x, CUR(i, CLAIMED(n)), ok);
				assert(!ok || name[CUR(i, CLAIMED(n))] == i)
			};
			n = CLAIMED(n);
			if
			:: ok ->
				atomic { MAY_DIE; run_handler(q, i) };
				if
				:: atomic { done[q] -> done[q] = false }
				:: atomic { mortal && crashes < CRASHES -> DIE }
				fi;
				if
				:: !failed[q] -> atomic { unlink_name(CUR(i, n), ok); over[i] = true } /* T5 */
				:: failed[q] && RETRIED(n) < ATTEMPTS -> rename_name(CUR(i, n), DELAY(i, RETRIED(n)), ok) /* T6 */
				:: failed[q] && RETRIED(n) >= ATTEMPTS -> bury(i, n, ok) /* T7 */
				fi
			:: else
			fi;
			unlock_all(q, i)
		:: else
		fi;
		atomic { x = 0; n = 0; i = 0; ok = false; failed[q] = false }
	:: atomic { found_cur(x, n, i) }; /* T12 */
		hold(x, i, ok);
		if
		:: ok ->
			if
			:: n < ATTEMPTS -> rename_name(x, DELAY(i, n), ok)
			:: else -> bury(i, n, ok)
			fi;
			unlock(i)
		:: else
		fi;
		atomic { x = 0; n = 0; i = 0; ok = false }
	od;
died:
	skip
}

proctype person()
{
	if
	:: d_step { name[BURIED(1)] = COPY; copied = true }
	:: true
	fi;
	name[NEW] = 1;
end:
	d_step { name[NEW] == 0 -> name[NEW] = 2 }
}

/* What was left behind holds the job of a qwork that died: that is as if it ran still. */
#define in_cur(i) (name[CUR(i, 0)] != 0 || name[CUR(i, 1)] != 0 || name[CUR(i, 2)] != 0)
#define ended(i) (over[i] || name[BURIED(i)] == i || (lock[i] == LEFT_BEHIND && in_cur(i)))

proctype judge()
{
	timeout;
	assert(ended(1) || name[NEXT_BURIED] == 1);
	assert(ended(2));
	assert(name[BURIED(1)] != 1 || name[NEXT_BURIED] != 1);
	assert(!copied || name[BURIED(1)] == COPY)
}

init
{
	atomic {
		run qwork(0, true);
		run qwork(1, false);
		run handler(0);
		run handler(1);
		run person();
		run judge()
	}
}
