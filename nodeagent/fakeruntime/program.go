package fakeruntime

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"periplus.dev/nodeagent/crilog"
	"periplus.dev/nodeagent/runtime"
)

// A program is what a container does: steps, one after the other. The words are
// those of the test image's toolbox, by themselves, after "toolbox", or several
// with semicolons after `sh -c`:
//
//	echo WORD...   env   hostname   pwd   id   true   false   exit CODE
//	sleep DURATION|infinity      print-lines [-every D] [-stderr] N
//	stubborn (ignores TERM)      eat-memory BYTES[Ki|Mi|Gi]
//
// What it does not know runs until it is told to stop.
type program []step

// step is one thing that a program does.
type step struct {
	text     string        // to print
	stream   crilog.Stream // of text
	wait     time.Duration
	forever  bool
	stubborn bool  // from here on TERM is ignored
	eat      int64 // bytes of memory it needs from here on
	end      bool  // the program ends here
	exitCode int
}

// surroundings are what a program can ask about.
type surroundings struct {
	hostname, workingDir string
	env                  []string
	user, group          int64
}

var (
	exit0      = step{end: true}
	runForever = step{forever: true}
)

// compile makes a program of what a container is told to run. An *Error says
// that there is no such command.
func compile(command, args []string, s surroundings) (program, error) {
	argv := slices.Concat(command, args)
	if len(command) == 0 && len(args) > 0 && !isWord(args[0]) {
		return program{runForever}, nil // arguments of an entry point that nobody knows here
	}
	if len(argv) > 0 && path.Base(argv[0]) == "toolbox" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return program{runForever}, nil
	}
	if strings.Contains(argv[0], "no-such") || strings.Contains(argv[0], "nonexist") {
		return nil, &runtime.Error{
			Reason: runtime.ReasonStart, ExitCode: 128,
			Message: fmt.Sprintf("exec: %q: stat %s: no such file or directory", argv[0], argv[0]),
		}
	}
	if len(argv) == 3 && argv[1] == "-c" {
		return script(argv[2], s), nil
	}
	return append(word(argv, s), exit0), nil
}

// script compiles what sh would run.
func script(text string, s surroundings) program {
	var p program
	for line := range strings.FieldsFuncSeq(strings.ReplaceAll(text, "&&", ";"), func(r rune) bool { return r == ';' || r == '\n' }) {
		if argv := strings.Fields(line); len(argv) > 0 {
			p = append(p, word(argv, s)...)
		}
	}
	return append(p, exit0)
}

func isWord(name string) bool {
	switch path.Base(name) {
	case "toolbox", "echo", "env", "hostname", "pwd", "id", "true", "false", "exit", "sleep", "print-lines", "stubborn", "eat-memory", "cat", "tty", "http":
		return true
	default:
		return false
	}
}

// word compiles one command. Wrong arguments end the program with status 2.
func word(argv []string, s surroundings) program {
	name, args := path.Base(argv[0]), argv[1:]
	say := func(text string) program { return program{{text: text + "\n", stream: crilog.Stdout}} }
	switch name {
	case "echo":
		return say(strings.Join(args, " "))
	case "env":
		return say(strings.Join(slices.Sorted(slices.Values(s.env)), "\n"))
	case "hostname":
		return say(s.hostname)
	case "pwd":
		return say(s.workingDir)
	case "id":
		return say(fmt.Sprintf("uid=%d gid=%d groups=[]", s.user, s.group))
	case "tty":
		return append(say("not a tty"), step{end: true, exitCode: 1})
	case "true":
		return nil
	case "false":
		return program{{end: true, exitCode: 1}}
	case "stubborn":
		return append(program{{stubborn: true}}, append(say("not listening"), runForever)...)
	case "exit", "sleep", "eat-memory":
		return numbered(name, args)
	case "print-lines":
		return printLines(args)
	default:
		return program{runForever}
	}
}

var wrongUsage = step{end: true, exitCode: 2}

// numbered compiles the commands with one number as argument.
func numbered(name string, args []string) program {
	if len(args) != 1 {
		return program{wrongUsage}
	}
	switch name {
	case "exit":
		if code, err := strconv.Atoi(args[0]); err == nil && code >= 0 && code <= 255 {
			return program{{end: true, exitCode: code}}
		}
	case "sleep":
		if args[0] == "infinity" {
			return program{runForever}
		}
		if d, ok := duration(args[0]); ok {
			return program{{wait: d}}
		}
	case "eat-memory":
		if n, ok := bytesOf(args[0]); ok {
			return program{{eat: n}, {text: fmt.Sprintf("ate %d bytes\n", n), stream: crilog.Stdout}, runForever}
		}
	}
	return program{wrongUsage}
}

func printLines(args []string) program {
	stream, every := crilog.Stdout, time.Duration(0)
	for ; len(args) > 1; args = args[1:] {
		ok := true
		switch {
		case args[0] == "-stderr":
			stream = crilog.Stderr
		case args[0] == "-every" && len(args) > 2:
			every, ok = duration(args[1])
			args = args[1:]
		default:
			ok = false
		}
		if !ok {
			return program{wrongUsage}
		}
	}
	if len(args) != 1 {
		return program{wrongUsage}
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return program{wrongUsage}
	}
	var p program
	for i := range n {
		if i > 0 && every > 0 {
			p = append(p, step{wait: every})
		}
		p = append(p, step{text: fmt.Sprintf("line %d\n", i+1), stream: stream})
	}
	return p
}

// duration reads "1.5s" or a number of seconds.
func duration(text string) (time.Duration, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

func bytesOf(text string) (int64, bool) {
	unit := int64(1)
	for i, suffix := range []string{"Ki", "Mi", "Gi"} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return n * unit, err == nil && n >= 0
}
