/*
 * shared_memory.h
 *		Registers the parts of the library that need shared memory.
 */
#ifndef PM_SHARED_MEMORY_H
#define PM_SHARED_MEMORY_H

/*
 * Adds a part: "request" asks for its memory, "startup" sets it up.  Parts are set
 * up in the order in which they were added.
 */
extern void shared_memory_add(void (*request)(void), void (*startup)(void));

#endif /* PM_SHARED_MEMORY_H */
