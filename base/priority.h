/* base/priority.h: threads whose work can wait step behind those that answer somebody.
 *
 * Writers decode, commit and compact as fast as they are sent to; on a machine that has no more to give, a query would
 * only get its share beside them. The system's scheduler gives a thread of niceness 10 about a tenth of what one
 * without gets, one of niceness 5 a third, and both all of what nobody else wants (sched(7)): enough for writers to go
 * on, and to be waited for. Who tidies up what writers leave goes before them, or it would fall ever further behind
 * those who never stop.
 */
#ifndef PROMSPLIT_BASE_PRIORITY_H
#define PROMSPLIT_BASE_PRIORITY_H

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

/* Added to the niceness the thread has. */
enum priority {
    PRIORITY_TIDIES = 5,
    PRIORITY_WRITES = 10
};

/* Of the calling thread, for good: only a privileged one could take it back. A system that refuses changes nothing. */
static inline void priority_step_behind(enum priority priority)
{
    id_t thread = (id_t)gettid();
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, thread);
    if (nice != -1 || errno == 0)
        (void)setpriority(PRIO_PROCESS, thread, nice + (int)priority);
}

#endif
