/* Power cuts: one job, sent, run, retried, buried, kicked and deleted, one step after the other; the power
 * may fail before each, or the process end. What was not synced may be there or not afterwards; as btrfs
 * does it, each directory by itself, so that both names of a rename may be there, but never none. Where
 * renaming is link and unlink, both are there, too, if the process ends between.
 *
 * Promises: a job whose id was printed is whole, and there until it is finished or deleted; one that was said
 * to be buried does not run, one that was said to be deleted does not come back; no name of a job is left
 * that makes it run again once it is finished.
 *
 * Rules: NO_DATA_FIRST NO_SOURCE NO_EVERY_SOURCE NO_TWINS NO_SYNC */
#ifndef CRASHES
#define CRASHES 2
#endif
#define OPERATIONS 5

#define INODES 2
#define NEW 0
#define DELAY 1
#define BURIED 2
#define CUR 3
#define TMP 4
#define NAMES 5
bool ended;
#define AT_DEATH ended = true
#include "spool.pml"

bool disk[NAMES]; /* the names that are there whatever happens, or that are not gone yet */
bool written, whole = true;
bool printed, said_buried, said_deleted, finished;
bool two_steps;
byte operations;

inline cut_name(n)
{
	if
	:: disk[n] = (name[n] != 0)
	:: true
	fi;
	if
	:: disk[n] -> survives = true
	:: else
	fi
}

inline power_cut()
{
	survives = false;
	cut_name(NEW);
	cut_name(DELAY);
	cut_name(BURIED);
	cut_name(CUR);
	cut_name(TMP);
	d_step {
		for (drop : 0 .. NAMES - 1) {
			if
			:: survives -> name[drop] = disk[drop]
			:: else -> disk[drop] = (name[drop] != 0)
			fi
		}
		drop = 0;
		nlink[1] = name[NEW] + name[DELAY] + name[BURIED] + name[CUR] + name[TMP];
		whole = (whole && written);
		survives = false;
		finished = false /* T5 is not durable: its work may be repeated */
	}
}
bool survives;

inline sync_dir(n)
{
#ifndef NO_SYNC
	atomic { MAY_DIE; disk[n] = (name[n] != 0) }
#else
	skip
#endif
}

inline move(from, to, ok)
{
	if
	:: !two_steps -> rename_name(from, to, ok)
	:: two_steps ->
		link_name(from, to, ok);
		unlink_name(from, ok)
	fi
}

/* SOURCE-THEN-TARGET */
inline settle(from, to)
{
#ifndef NO_SOURCE
#ifndef NO_EVERY_SOURCE
	sync_dir(NEW);
	sync_dir(DELAY);
	sync_dir(CUR);
	sync_dir(BURIED);
#else
	sync_dir(from);
#endif
#endif
	sync_dir(to)
}

inline remove_twin(n, kept)
{
	if
	:: name[n] != 0 && kept ->
		unlink_name(n, ok);
		sync_dir(n)
	:: name[n] != 0 && !kept -> kept = true
	:: else
	fi
}

/* TWINS: whoever holds the job by the name n keeps the safest of its names. */
inline hold_job(n, kept, ok)
{
#ifndef NO_TWINS
	if
	:: nlink[1] > 1 ->
		kept = false;
		remove_twin(NEW, kept);
		remove_twin(DELAY, kept);
		remove_twin(BURIED, kept);
		remove_twin(CUR, kept)
	:: else
	fi;
	kept = false;
#endif
	ok = (name[n] != 0)
}

/* T1 */
inline send(ok)
{
	atomic { MAY_DIE; d_step { name[TMP] = 1; nlink[1] = 1 } };
#ifndef NO_DATA_FIRST
	atomic { MAY_DIE; written = true };
#endif
	move(TMP, NEW, ok);
	sync_dir(NEW);
#ifdef NO_DATA_FIRST
	atomic { MAY_DIE; written = true };
#endif
	printed = true
}

/* T3 and what follows it */
inline work(n, kept, ok)
{
	hold_job(n, kept, ok);
	if
	:: ok ->
		assert(whole && !said_buried && !said_deleted && !finished);
		move(n, CUR, ok);
		if
		:: atomic { /* T5 */
			unlink_name(CUR, ok);
			finished = true;
			printed = false
		   }
		:: move(CUR, DELAY, ok) /* T6 */
		:: move(CUR, BURIED, ok); /* T7 */
			settle(CUR, BURIED);
			said_buried = true
		fi
	:: else
	fi
}

/* T9, T10, T11 */
inline operate(n, kept, ok)
{
	hold_job(n, kept, ok);
	if
	:: ok && n != BURIED ->
		move(n, BURIED, ok);
		settle(n, BURIED);
		said_buried = true
	:: ok && n == BURIED ->
		said_buried = false;
		move(BURIED, NEW, ok);
		settle(BURIED, NEW)
	:: ok ->
		printed = false;
		unlink_name(n, ok);
		settle(n, n);
		said_deleted = true
	:: else
	fi
}

#define is_job (name[NEW] != 0 || name[DELAY] != 0 || name[BURIED] != 0 || name[CUR] != 0)

proctype all(bool mortal)
{
	bool ok, kept;

	if
	:: two_steps = true
	:: true
	fi;
	send(ok);
died:
	ok = false;
	kept = false;
	if
	:: ended -> power_cut()
	:: true
	fi;
	ended = false;
	do
	:: atomic {
		operations < OPERATIONS ->
		operations++;
		assert(!printed || is_job);
		assert(!said_deleted || !is_job)
	   };
		if
		:: name[NEW] != 0 -> work(NEW, kept, ok)
		:: name[DELAY] != 0 -> work(DELAY, kept, ok)
		:: name[NEW] != 0 -> operate(NEW, kept, ok)
		:: name[DELAY] != 0 -> operate(DELAY, kept, ok)
		:: name[BURIED] != 0 -> operate(BURIED, kept, ok)
		:: name[CUR] != 0 -> /* T12 */
			hold_job(CUR, kept, ok);
			if
			:: ok -> move(CUR, DELAY, ok)
			:: else
			fi
		:: !is_job -> break
		fi
	:: atomic { operations == OPERATIONS && mortal && crashes < CRASHES -> DIE }
	:: operations == OPERATIONS -> break
	od
}

init
{
	run all(true)
}
