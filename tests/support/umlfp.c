/*
 * umlfp: lets User Mode Linux run on processors with large registers.
 *
 * For LD_PRELOAD into "linux". The Linux 6.1 of Debian 12's user-mode-linux
 * keeps 2,696 bytes of extended registers of a guest's process (FP_SIZE in
 * arch/x86/um), and a host whose processor has AMX takes only all 11 KiB of
 * them: ptrace(PTRACE_SETREGSET) fails with EFAULT, and the guest's init dies
 * ("userspace - ptrace set fp regs failed, errno = 14"). Here the rest is
 * added, as the process has it: no program of a guest uses the tiles.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE	0x202
#endif

typedef long ptrace_fn(int, pid_t, void *, void *);

/* The guest's kernel is one thread; its stacks are small. */
static unsigned char whole[64 * 1024];

/* iov: the first of the registers; the others stay as they are. */
static long
umlfp_set(ptrace_fn *real, pid_t pid, void *kind, const struct iovec *iov)
{
	struct iovec all = { whole, sizeof whole };

	if (real(PTRACE_GETREGSET, pid, kind, &all) < 0)
		return -1;
	if (all.iov_len < iov->iov_len) {
		errno = EFAULT;
		return -1;
	}
	memcpy(whole, iov->iov_base, iov->iov_len);
	return real(PTRACE_SETREGSET, pid, kind, &all);
}

/* As ptrace(2), whose first argument is an enum of the C library's. */
long	umlfp_ptrace(int request, ...) __asm__("ptrace");

long
umlfp_ptrace(int request, ...)
{
	static ptrace_fn *real;
	va_list ap;

	va_start(ap, request);
	pid_t pid = va_arg(ap, pid_t);
	void *addr = va_arg(ap, void *);
	void *data = va_arg(ap, void *);
	va_end(ap);
	if (real == NULL)
		*(void **)(void *)&real = dlsym(RTLD_NEXT, "ptrace");

	long r = real(request, pid, addr, data);
	if (r < 0 && errno == EFAULT && request == PTRACE_SETREGSET &&
	    addr == (void *)NT_X86_XSTATE)
		r = umlfp_set(real, pid, addr, data);
	return r;
}
