#include "sys/mapped.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

/* Of this thread's access; looked at by the handler, in the same thread. */
static _Thread_local struct {
	void *volatile map;
	volatile size_t size;
	volatile bool failed;
} current;

static struct sigaction before;

static bool in_map(const void *address)
{
	return current.map && (uintptr_t)address - (uintptr_t)current.map < current.size;
}

/* mmap(2) is no more than a system call here, though POSIX does not list it as safe. */
static void replace_map(int signal, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code > 0 && in_map(info->si_addr) &&
	    mmap(current.map, current.size, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
		current.failed = true;
	} else {
		sigaction(signal, &before, NULL);
		raise(signal); /* once this handler has returned */
	}
	errno = saved;
}

static void take_signal(void)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;
	struct sigaction action = {.sa_sigaction = replace_map, .sa_flags = SA_SIGINFO};

	if (atomic_flag_test_and_set(&taken))
		return;
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &before);
}

void *mapped_open(int fd, size_t size, bool writable)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	void *map = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	take_signal();
	return map == MAP_FAILED ? NULL : map;
}

void mapped_close(void *map, size_t size)
{
	int saved = errno;

	if (map)
		munmap(map, size);
	errno = saved;
}

bool mapped_access(void *map, size_t size, void (*access)(void *map, void *arg), void *arg)
{
	current.failed = false;
	current.size = size;
	current.map = map;
	access(map, arg);
	current.map = NULL;
	return !current.failed;
}
