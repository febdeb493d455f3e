# bash completion for wherry: the program itself is asked for what fits.
_wherry() {
	local cur=${COMP_WORDS[COMP_CWORD]} line
	local IFS=$'\n'
	COMPREPLY=()
	for line in $("${COMP_WORDS[0]}" "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$cur" --generate-completion 2>/dev/null); do
		COMPREPLY+=("${line%%$'\t'*}")
	done
	if [ ${#COMPREPLY[@]} -eq 0 ]; then
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
complete -F _wherry wherry
