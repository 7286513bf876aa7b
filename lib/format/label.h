/*
 * Names that users choose (of keys, batches, resources) as names in a directory.
 *
 * A name is any bytes but NUL, at least one. In its label letters, digits, '_', '-', '+' and
 * '.' stand for themselves, but a '.' not at the start; every other byte is %xx, two digits
 * of hex in lower case. So a label has no '/' and no '@', and does not hide.
 *
 * What would be longer than LABEL_LEN_MAX is cut: its first 62 to 64 characters (no %xx is
 * split), "%%", and the first 40 digits of hex of the SHA-256 of the name. Different names
 * have different labels, the cut ones as surely as there are no collisions of 160 bits.
 *
 * (vis(3)'s VIS_HTTPSTYLE comes near, but leaves "!$'()*," and a leading dot as they are, and
 * its inverse takes more than one text for a name.)
 */
#ifndef QSPOOL_FORMAT_LABEL_H
#define QSPOOL_FORMAT_LABEL_H

#include <stdbool.h>

enum {
	LABEL_LEN_MAX = 120,
	LABEL_SIZE = 128, /* room for any label, and for any name that a label tells */
};

/* 0, or -1 with EINVAL: NAME is empty. */
int label_encode(const char *name, char label[LABEL_SIZE]);

/* Strictly the inverse: 0, or -1 with EINVAL: LABEL is one that label_encode() cannot have
 * made, or one that was cut, from which the name cannot be told. NAME is then unspecified. */
int label_decode(const char *label, char name[LABEL_SIZE]);

/* Whether label_decode() can. */
bool label_whole(const char *label);

#endif
