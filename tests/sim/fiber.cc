/* fiber.cc: the switch between stacks, for x86-64 (System V) and AArch64 (AAPCS64): the registers that a function must keep
 * go onto the old stack, and come from the new one. Six and twelve of them, and eight halves of vectors on AArch64. */
#include "fiber.h"

#include <stdint.h>
#include <string.h>

#ifdef __aarch64__
__asm__(".text\n.global sim_switch\n.type sim_switch, %function\nsim_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x2, sp\n    str x2, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n    ret\n");
enum { SAVED = 20, RETURN = 11 };
#else
__asm__(".text\n.global sim_switch\n.type sim_switch, @function\nsim_switch:\n"
        "    push %rbx\n    push %rbp\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp, (%rdi)\n    mov %rsi, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbp\n    pop %rbx\n    ret\n");
enum { SAVED = 8, RETURN = 6 };                                /* six registers, the way back, and 8 bytes to align    */
#endif

void *sim_fiber_start(char *stack, size_t bytes, void (*entry)())
{
    uintptr_t top = ((uintptr_t)stack + bytes) & ~(uintptr_t)63;
    void **frame = (void **)top - SAVED;
    memset(frame, 0, SAVED * sizeof *frame);
    memcpy(&frame[RETURN], &entry, sizeof entry);
    return frame;
}
