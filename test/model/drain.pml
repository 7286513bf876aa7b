/* Is the queue empty? A qwork that drains looks; another one claims a job, tries it again, finishes it; or it
 * lost its worker before, and is recovered.
 *
 * Promise: who finds the queue empty finds no job that is not over.
 *
 * Rules: NO_DRAIN NO_HINT */
#define CRASHES 0

#define CUR 0
#define NEW 1
#define DELAY 2
#define GONE 3
#define NAMES 4
#define INODES 2
#include "spool.pml"

bool watching, event, over;

inline move(from, to)
{
	name[from] = 0;
	name[to] = 1;
	event = event || watching
}

proctype other()
{
	byte attempts;
end:
	do
	:: atomic { attempts < 2 && name[NEW] != 0 -> attempts++; move(NEW, CUR) } /* T3 */
	:: atomic { attempts < 2 && name[DELAY] != 0 -> attempts++; move(DELAY, CUR) }
	:: atomic { name[CUR] != 0 -> move(CUR, DELAY) } /* T6, T12 */
	:: atomic { name[CUR] != 0 -> move(CUR, NEW) }   /* T8 */
	:: atomic { name[CUR] != 0 -> over = true; move(CUR, GONE) } /* T5 */
	od
}

inline look(n)
{
	found = found || (name[n] != 0)
}

proctype drainer()
{
	bool found;
end:
	do
	:: true ->
		found = false;
		event = false;
#ifndef NO_HINT
		watching = true;
#endif
		look(CUR);
		look(NEW);
		look(DELAY);
#ifdef NO_HINT
		watching = true;
#endif
		atomic {
#ifndef NO_DRAIN
			found = found || event;
#endif
			assert(found || over)
		};
		if
		:: !found -> break
		:: else
		fi
	od
}

init
{
	atomic {
		if
		:: name[NEW] = 1
		:: name[CUR] = 1
		:: name[DELAY] = 1
		fi;
		run other();
		run drainer()
	}
}
