/* Lets user-mode Linux start on processors whose XSAVE area is larger than it expects (seen with AMX: 11,008 bytes).
 *
 * User-mode Linux (6.1) restores the floating point registers of a traced process with PTRACE_SETREGSET and a buffer of
 * fixed size. The host refuses any buffer shorter than the whole XSAVE area with EFAULT, and user-mode Linux panics at
 * its first process. Loaded with LD_PRELOAD, this ptrace() completes such a buffer with the rest of the process's
 * present area. On other processors it changes nothing. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char area[65536]; /* user-mode Linux traces from one thread only */

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (unsigned long)address == NT_X86_XSTATE) {
        const struct iovec *given = data;
        struct iovec whole = {area, sizeof area};
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, address, &whole) == 0 && whole.iov_len > given->iov_len) {
            memcpy(area, given->iov_base, given->iov_len);
            return syscall(SYS_ptrace, request, pid, address, &whole);
        }
    }
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        /* The system call stores the word where the library function returns it. */
        long word = 0;
        long failed = syscall(SYS_ptrace, request, pid, address, &word);
        return failed < 0 ? failed : word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
