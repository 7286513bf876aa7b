#include "payload.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *payload_read(int fd, size_t *size)
{
	struct stat st;
	char *payload;
	ssize_t n = 1;

	*size = 0;
	if (fstat(fd, &st) != 0)
		return NULL;
	payload = malloc((size_t)st.st_size + 1);
	while (payload && *size < (size_t)st.st_size && n > 0) {
		n = pread(fd, payload + *size, (size_t)st.st_size - *size, (off_t)*size);
		if (n > 0)
			*size += (size_t)n;
	}
	if (payload && n > 0)
		return payload;
	if (payload && n == 0)
		errno = ESTALE; /* somebody cut it short meanwhile */
	free(payload);
	return NULL;
}
