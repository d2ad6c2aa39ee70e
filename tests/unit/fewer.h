/*
 * fewer: how often a test repeats itself. Under sanitizers each round costs ten
 * times as much, and what they find, faults of memory, shows in a part of the
 * rounds; the plain build of the same run goes through all of them.
 */
#ifndef LUMNID_TESTS_FEWER_H
#define LUMNID_TESTS_FEWER_H

#if defined(__SANITIZE_ADDRESS__)
#define FEWER(all, few)	(few)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FEWER(all, few)	(few)
#endif
#endif
#ifndef FEWER
#define FEWER(all, few)	(all)
#endif

#endif
