/*
 * Lets User Mode Linux 6.1 run on processors with AMX.
 *
 * It sets the extended registers of its processes from a buffer that ends behind AVX-512. The host's
 * kernel takes all of them or none (EFAULT), and where AMX belongs to them the guest's first process ends
 * with a SIGSEGV. Preloaded, this fills what is missing with what the process has. Linux 6.13 and later
 * need it no more: there User Mode Linux asks how large they are.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*kernels)(int, ...);
/* Not on the stack: the guest's kernel has small ones. It has one processor, so no two use it at once. */
static char registers[64 << 10];

__attribute__((constructor)) static void find(void)
{
    kernels = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    va_start(rest, request);
    int pid = va_arg(rest, int);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    long done = kernels(request, pid, address, data);
    if (done == 0 || request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE)
        return done;
    const struct iovec *some = data;
    struct iovec all = {registers, sizeof registers};
    if (kernels(PTRACE_GETREGSET, pid, address, &all) != 0)
        return -1;
    memcpy(registers, some->iov_base, some->iov_len < all.iov_len ? some->iov_len : all.iov_len);
    return kernels(PTRACE_SETREGSET, pid, address, &all);
}
