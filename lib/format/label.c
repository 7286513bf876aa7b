#include "format/label.h"

#include <errno.h>
#include <sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_LEN = 64, ESCAPE_LEN = 3, HASH_LEN = 40 };

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.";
static const char base16[] = "0123456789abcdef";

static bool is_plain(char c, bool first)
{
	return memchr(plain, c, sizeof plain - 1) && !(first && c == '.');
}

/* As much of NAME as goes into MAX bytes and a NUL; what is left of it. */
static const char *encode(const char *name, char *label, size_t max)
{
	char *at = label;

	for (; *name; name++) {
		bool as_is = is_plain(*name, at == label);
		uint8_t byte = (uint8_t)*name;

		if ((size_t)(at - label) + (as_is ? 1 : ESCAPE_LEN) > max)
			break;
		if (as_is) {
			*at++ = *name;
		} else {
			*at++ = '%';
			*at++ = base16[byte >> 4];
			*at++ = base16[byte & 15];
		}
	}
	*at = '\0';
	return name;
}

static void put_hash(const char *name, char *end)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	SHA2_CTX context;

	SHA256Init(&context);
	SHA256Update(&context, (const uint8_t *)name, strlen(name));
	SHA256Final(hash, &context);
	end = stpcpy(end, "%%");
	for (size_t i = 0; i < HASH_LEN / 2; i++)
		end += sprintf(end, "%02x", hash[i]);
}

int label_encode(const char *name, char label[static LABEL_SIZE])
{
	if (!*name) {
		errno = EINVAL;
		return -1;
	}
	if (*encode(name, label, LABEL_LEN_MAX)) {
		encode(name, label, HEAD_LEN);
		put_hash(name, label + strlen(label));
	}
	return 0;
}

/* The byte that the two digits at TEXT say, or -1. */
static int escaped(const char *text)
{
	const char *high = memchr(base16, text[0], 16);
	const char *low = high ? memchr(base16, text[1], 16) : NULL;

	return low ? (int)(high - base16) * 16 + (int)(low - base16) : -1;
}

static bool decode(const char *label, char *name)
{
	while (*label) {
		int byte = *label == '%' ? escaped(label + 1) : (uint8_t)*label;

		if (byte < 0)
			return false;
		*name++ = (char)byte;
		label += *label == '%' ? ESCAPE_LEN : 1;
	}
	*name = '\0';
	return true;
}

int label_decode(const char *label, char name[static LABEL_SIZE])
{
	char again[LABEL_SIZE];

	/* What could be decoded, but is not how it is written, shows when it is written again. */
	if (strlen(label) <= LABEL_LEN_MAX && decode(label, name) &&
	    label_encode(name, again) == 0 && strcmp(label, again) == 0)
		return 0;
	errno = EINVAL;
	return -1;
}

bool label_whole(const char *label)
{
	char name[LABEL_SIZE];

	return label_decode(label, name) == 0;
}
