#!/bin/sh
# completion.sh: what bash, zsh and fish offer behind `imago`, asked of the shells themselves.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/completion.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC2016 # check reads $? of the condition before it, on purpose; texts are for other shells
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

gives 2 'for bash, zsh or fish' help --completion
gives 2 'for bash, zsh or fish' help --completion tcsh
mkdir "$dir/folder" && : >"$dir/file" && : >"$dir/folder/inside"

# Every verb and option of the help is in each of the three.
for shell in bash zsh fish; do
    run help --completion $shell
    mv "$dir/out" "$dir/imago.$shell"
    missing=
    "$imago" help | sed -n 's/^  \([a-z-]* *[a-z-]*\)  .*/\1/p' | grep -v '^help' >"$dir/verbs"
    while read -r verb; do
        # shellcheck disable=SC2086 # a verb may be two words
        "$imago" help $verb | sed -n 's/^  \(-.,\|   \) --\([a-z-]*\).*/\2/p' >"$dir/options"
        while read -r option; do
            grep -q -e "[-]-${option}[] =}'\\[]" -e " -l ${option} " "$dir/imago.$shell" || missing="$missing $verb:$option"
        done <"$dir/options"
    done <"$dir/verbs"
    [ "$rc" = 0 ] && [ -z "$missing" ] && [ "$(wc -l <"$dir/verbs")" -ge 13 ]
    check "$shell: all options of all verbs (not:$missing)"
done

# offers SHELL TYPED WANTED: the last word of TYPED may become the words WANTED
offers() {
    found=$("offer_$1" "$2" | sort | tr '\n' ' ')
    [ "${found% }" = "$3" ]
    check "$1: \"imago $2\" -> $3 (found $found)"
}
offer_bash() {
    bash -c '. "$1"; COMP_WORDS=(imago $2); [ "${2: -1}" = " " ] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _imago; printf "%s\n" "${COMPREPLY[@]}"' - "$dir/imago.bash" "$1"
}
offer_fish() { fish -c 'source $argv[1]; complete -C "imago $argv[2]"' "$dir/imago.fish" "$1" | cut -f 1; }
# zsh: the functions that would show the words print what they were told
offer_zsh() {
    zsh -f -c '
        compdef() { }
        _describe() { print -rl -- ${verbs%%:*} }
        _values() { shift; print -rl -- $@ }
        _files() { print -r -- files }
        _arguments() { local a; for a in "$@"; do print -r -- "$a"; done }
        words=(imago ${(s: :)2}); [[ -z $2 || $2 == *" " ]] && words+=(""); CURRENT=$#words
        source $1' - "$dir/imago.zsh" "$1"
}

common() {      # common SHELL: what all three are asked
    offers "$1" 'train ' 'autoencoder decoder diffusion resnet'
    offers "$1" 'bench ' 'clip generate ops peak train unet vae'
    offers "$1" 'help --completion ' 'bash fish zsh'
}
if command -v bash >/dev/null; then
    bash -n "$dir/imago.bash"
    check "bash reads it"
    common bash
    offers bash 'ge' 'generate'
    offers bash 'train re' 'resnet'
    offers bash 'generate --dt' '--dtype'
    offers bash 'generate --dtype ' 'bf16 f16 f32 int8'
    offers bash 'generate --dtype = b' 'bf16'
    offers bash 'train resnet -q --schedule c' 'constant cosine'
    offers bash 'bench u' 'unet'
    offers bash 'bench train --fr' '--from'
    offers bash 'generate -s ' ''
    offers bash "generate -m $dir/f" "$dir/file $dir/folder"
    offers bash "train resnet -o $dir/f" "$dir/folder"
    offers bash "convert $dir/f" "$dir/file $dir/folder"
    bash -c '. "$1"; complete -p imago' - "$dir/imago.bash" | grep -q -- '-F _imago imago'
    check "bash: it is bound to imago"
else
    skipped=$((skipped + 1))
    echo "SKIP completions of bash: there is no bash here"
fi
if command -v fish >/dev/null; then
    fish -n "$dir/imago.fish"
    check "fish reads it"
    common fish
    offers fish 'ge' 'generate'
    offers fish 'generate --dt' '--dtype'
    offers fish 'generate --dtype ' 'bf16 f16 f32 int8'
    offers fish 'train resnet -q --schedule c' 'constant cosine'
    offers fish 'bench train --fr' '--from'
    offers fish 'bench --fr' ''
    offers fish "convert $dir/fi" "$dir/file"
else
    skipped=$((skipped + 1))
    echo "SKIP completions of fish: there is no fish here"
fi
if command -v zsh >/dev/null; then
    zsh -n "$dir/imago.zsh"
    check "zsh reads it"
    common zsh
    [ "$(offer_zsh '' | grep -cx 'generate\|train\|help')" = 3 ]
    check "zsh: the verbs"
    offer_zsh 'generate ' | grep -qF -- '--dtype=[' && offer_zsh 'generate ' | grep -qF ':TYPE:(f32 f16 bf16)'
    check "zsh: a choice"
    offer_zsh 'train resnet ' | grep -qF -- '--schedule=[' && ! offer_zsh 'bench ops ' | grep -q -- '--from'
    check "zsh: options of the verb, and of no other"
    offer_zsh 'convert ' | grep -qF '1:MODEL|FILE|RUN:_files'
    check "zsh: files"
else
    skipped=$((skipped + 1))
    echo "SKIP completions of zsh: there is no zsh here"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
