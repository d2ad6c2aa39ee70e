/* cdefs: what the compilers can check for us. */
#ifndef LUMNID_BASE_CDEFS_H
#define LUMNID_BASE_CDEFS_H

#define MUSTUSE			__attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a)	__attribute__((format(printf, f, a)))
#define NORETURN		__attribute__((noreturn))
/*
 * Runs for each event. Such functions are laid out side by side: a process
 * that sleeps between events finds its code in fewer pages.
 */
#define HOT			__attribute__((hot))
#define UNUSED			__attribute__((unused))
#define LIKELY(x)		__builtin_expect(!!(x), 1)
#define UNLIKELY(x)		__builtin_expect(!!(x), 0)
#define NELEM(a)		(sizeof(a) / sizeof((a)[0]))

#endif
