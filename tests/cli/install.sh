#!/bin/sh
# install.sh: `make install` puts program, library, header, man page and the embedded model in place, and nothing else; the
# installed program draws with its model; `make uninstall` removes just that. Prints what fails and, last, "N passed, N
# failed, N skipped".
#
#     tests/cli/install.sh [PROGRAM]              default: build/imago
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
unset IMAGO_WEIGHTS
root=$dir/root small=$dir/small
makes() {       # makes TARGET
    ${MAKE:-make} -s BUILD="$(dirname "$imago")" PREFIX=/usr DESTDIR="$root" SMALL="$small" "$1" >"$dir/out" 2>"$dir/err"
}
files() { (cd "$root" && find . ! -type d | LC_ALL=C sort); }
model() {
    (cd weights/imago-small && find . -type f ! -path '*/features/*' | sed 's,^\.,./usr/share/imago/weights/imago-small,')
}

# The model as it is carried, and what training, a fetch or a hand may have left in its folder.
cp -R weights/imago-small "$small"
echo x | tee "$small/log.jsonl" "$small/unet/notes.txt" "$small/unet/diffusion_pytorch_model.bin" >"$small/vae/old.tmp.1.2"
mkdir "$small/samples" && echo x >"$small/samples/a.safetensors"
makes install
check "make install"
{ model; printf './usr/%s\n' bin/imago include/imago.h include/imago_engine.h include/imago_generate.h \
      include/imago_train.h lib/libimago.a lib/libimago.so lib/libimago.so.0 lib/pkgconfig/imago.pc share/man/man1/imago.1 \
      share/bash-completion/completions/imago share/fish/vendor_completions.d/imago.fish \
      share/zsh/site-functions/_imago; } | LC_ALL=C sort >"$dir/want"
files >"$dir/have"
diff "$dir/want" "$dir/have" >"$dir/err"
check "what is installed, and nothing else"
[ -x "$root/usr/bin/imago" ] && [ -x "$root/usr/lib/libimago.so" ] && [ ! -x "$root/usr/include/imago.h" ]
check "what can be executed"
(cd "$dir" && "$root/usr/bin/imago" generate -p strawberry -s 1 --steps 1 -q -o picture.png) >"$dir/out" 2>"$dir/err" &&
    [ -s "$dir/picture.png" ]
check "the installed program draws"
place=$root/usr/share/imago/weights/imago-small/unet/config.json
mv "$place" "$dir/config.json" && echo '{' >"$place"
(cd "$dir" && ! "$root/usr/bin/imago" generate -p strawberry --steps 1 -o second.png) >"$dir/out" 2>"$dir/err" &&
    grep -q 'share/imago/weights/imago-small/unet/config.json' "$dir/err"
check "... with the model that was installed"
mv "$dir/config.json" "$place"

# ---- a later version, whose model is split in another way; the user's own files
echo mine >"$root/usr/share/imago/mine.txt"
echo x >"$root/usr/share/imago/weights/imago-small/unet/diffusion_pytorch_model.safetensors"
makes install && rm "$root/usr/share/imago/mine.txt" && files | cmp -s "$dir/want" -
check "nothing of an earlier model is left to be mixed with the new one"
mkdir -p "$root/usr/share/imago/weights/other" && echo mine >"$root/usr/share/imago/weights/other/model_index.json"
makes uninstall && [ "$(files)" = ./usr/share/imago/weights/other/model_index.json ] &&
    [ ! -e "$root/usr/share/imago/weights/imago-small" ]
check "make uninstall removes what was installed, and nothing else"
rm -r "$root/usr/share/imago/weights/other" && makes install && makes uninstall && [ ! -e "$root/usr/share/imago" ]
check "make uninstall leaves no folder of its own"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
