/*
 * slot_generations.h
 *		The generations of one log, as highwater.c and generations.c use them.
 *
 * highwater.c explains what a generation is.  Generations in shared memory are
 * protected by the lock of the log's slot (slot_mark.c).  A backend can also
 * have generations of its own.
 */
#ifndef PM_SLOT_GENERATIONS_H
#define PM_SLOT_GENERATIONS_H

#include "storage/lock.h"

/* How many generations a log has, and how many transactions shared memory has room for. */
#define SLOT_GENERATIONS 16
#define SLOT_MEMBERS	 16

/* A transaction that may still write at or below the last position of a generation. */
typedef struct GenerationMember
{
	VirtualTransactionId vxid;
	uint32 generations; /* bit g: it belongs to generation g */
} GenerationMember;

typedef struct Generations
{
	int64 mark;	   /* nothing can appear at or below it any more */
	int64 reached; /* the highest last value that a reader has seen, or the furthest cursor */
	uint32 used;   /* bit g: generation g is pending */
	int64 last[SLOT_GENERATIONS];
	uint64 pushes;					 /* how many generations have ever been pushed, */
	uint64 number[SLOT_GENERATIONS]; /* and the number of each */
	int nmembers;
	int max_members;
	bool fixed; /* it is in shared memory, where there is no room for more members */
	GenerationMember *members;
} Generations;

#endif /* PM_SLOT_GENERATIONS_H */
