/*
 * digest.h
 *		Digests of texts that may be too long for an index.
 */
#ifndef PM_DIGEST_H
#define PM_DIGEST_H

/* The SHA-256 of a text in UTF-8, as a bytea. */
extern Datum digest_text(Datum value);

#endif /* PM_DIGEST_H */
