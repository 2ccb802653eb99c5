// Command main reads the tasks that a Go program registers with Machinery, and prints them as a manifest. It parses the
// code and does not compile it, so it needs none of the program's dependencies.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

type argument struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Variadic bool   `json:"variadic"`
}

type result struct {
	Type string `json:"type"`
}

type task struct {
	Task      string     `json:"task"`
	Arguments []argument `json:"arguments"`
	Results   []result   `json:"results"`
	Source    string     `json:"source"`
}

type problem struct {
	At   string `json:"at"`
	Text string `json:"text"`
}

// pack is one folder of Go files.
type pack struct {
	folder  string
	path    string
	files   []*ast.File
	funcs   map[string]*function
	methods map[string][]*function
	values  map[string]ast.Expr
	types   map[string]*ast.TypeSpec
}

// function is the type of a function, and the file and folder in which the names of its types are found.
type function struct {
	kind *ast.FuncType
	file *ast.File
	in   *pack
}

type scanner struct {
	set      *token.FileSet
	root     string
	packs    map[string]*pack
	tasks    map[string]task
	problems []problem
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: main DIR")
		os.Exit(2)
	}
	s := &scanner{set: token.NewFileSet(), root: os.Args[1], packs: map[string]*pack{}, tasks: map[string]task{}}
	if err := s.parse(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, folder := range sorted(s.packs) {
		p := s.packs[folder]
		for _, file := range p.files {
			s.calls(p, file)
		}
	}
	found := []task{}
	for _, name := range sorted(s.tasks) {
		found = append(found, s.tasks[name])
	}
	if s.problems == nil {
		s.problems = []problem{}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"tasks": found, "problems": s.problems})
}

func sorted[V any](m map[string]V) []string {
	names := []string{}
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (s *scanner) parse() error {
	module := modulePath(s.root)
	return filepath.WalkDir(s.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != s.root && (base == "vendor" || base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(s.set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder := filepath.Dir(name)
		p := s.packs[folder]
		if p == nil {
			relative, _ := filepath.Rel(s.root, folder)
			p = &pack{
				folder: folder, path: path.Join(module, filepath.ToSlash(relative)), funcs: map[string]*function{},
				methods: map[string][]*function{}, values: map[string]ast.Expr{}, types: map[string]*ast.TypeSpec{},
			}
			s.packs[folder] = p
		}
		p.files = append(p.files, file)
		p.declare(file)
		return nil
	})
}

// modulePath returns the module path in the go.mod of a folder; "" if there is none.
func modulePath(folder string) string {
	text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "module" {
			return strings.Trim(words[1], `"`)
		}
	}
	return ""
}

func (p *pack) declare(file *ast.File) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			f := &function{d.Type, file, p}
			if d.Recv == nil {
				p.funcs[d.Name.Name] = f
			} else {
				p.methods[d.Name.Name] = append(p.methods[d.Name.Name], f)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch v := spec.(type) {
				case *ast.ValueSpec:
					for i, name := range v.Names {
						if i < len(v.Values) {
							p.values[name.Name] = v.Values[i]
						}
					}
				case *ast.TypeSpec:
					p.types[v.Name.Name] = v
				}
			}
		}
	}
}

// calls looks for registrations in a file, and for the maps that they get.
func (s *scanner) calls(p *pack, file *ast.File) {
	locals := map[string]ast.Expr{}
	added := map[string][]*ast.KeyValueExpr{}
	ast.Inspect(file, func(node ast.Node) bool {
		assign, ok := node.(*ast.AssignStmt)
		if !ok {
			return true
		}
		for i, left := range assign.Lhs {
			if i >= len(assign.Rhs) {
				break
			}
			switch target := left.(type) {
			case *ast.Ident:
				locals[target.Name] = assign.Rhs[i]
			case *ast.IndexExpr:
				if name, ok := target.X.(*ast.Ident); ok {
					added[name.Name] = append(added[name.Name], &ast.KeyValueExpr{Key: target.Index, Value: assign.Rhs[i]})
				}
			}
		}
		return true
	})
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch {
		case selector.Sel.Name == "RegisterTask" && len(call.Args) == 2:
			s.register(p, file, locals, call.Args[0], call.Args[1])
		case selector.Sel.Name == "RegisterTasks" && len(call.Args) == 1:
			value := call.Args[0]
			if name, ok := value.(*ast.Ident); ok {
				for _, pair := range added[name.Name] {
					s.register(p, file, locals, pair.Key, pair.Value)
				}
				if local, ok := locals[name.Name]; ok {
					value = local
				} else if global, ok := p.values[name.Name]; ok {
					value = global
				}
			}
			literal, ok := value.(*ast.CompositeLit)
			if !ok {
				s.problem(call, "the map of this RegisterTasks is not a literal in its package, so its tasks are not known")
				return true
			}
			for _, element := range literal.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					s.register(p, file, locals, pair.Key, pair.Value)
				}
			}
		}
		return true
	})
}

func (s *scanner) at(node ast.Node) string {
	place := s.set.Position(node.Pos())
	name := place.Filename
	if relative, err := filepath.Rel(s.root, name); err == nil {
		name = filepath.ToSlash(relative)
	}
	return fmt.Sprintf("%s:%d", name, place.Line)
}

func (s *scanner) problem(node ast.Node, text string) {
	s.problems = append(s.problems, problem{s.at(node), text})
}

func (s *scanner) register(p *pack, file *ast.File, locals map[string]ast.Expr, nameOf, functionOf ast.Expr) {
	name, ok := s.text(p, file, locals, nameOf)
	if !ok {
		s.problem(nameOf, "the name of this task is not a constant, so the task is left out")
		return
	}
	f := s.function(p, file, locals, functionOf)
	if f == nil {
		s.problem(functionOf, fmt.Sprintf("the function of task %q is not in this code, so the task is left out", name))
		return
	}
	found := task{Task: name, Arguments: []argument{}, Results: []result{}, Source: s.at(nameOf)}
	number := 0
	for i, field := range f.kind.Params.List {
		if i == 0 && s.isContext(field.Type) {
			continue
		}
		kind, variadic := field.Type, false
		if ellipsis, ok := kind.(*ast.Ellipsis); ok {
			kind, variadic = ellipsis.Elt, true
		}
		text, ok := s.kind(f, kind)
		if !ok {
			s.problem(functionOf, fmt.Sprintf("task %q has a parameter of a type that Machinery cannot carry, so the task is left out", name))
			return
		}
		names := field.Names
		if len(names) == 0 {
			names = []*ast.Ident{{Name: ""}}
		}
		for _, one := range names {
			number++
			label := one.Name
			if label == "" || label == "_" {
				label = fmt.Sprintf("arg%d", number)
			}
			found.Arguments = append(found.Arguments, argument{label, text, !variadic, variadic})
		}
	}
	if f.kind.Results == nil || len(f.kind.Results.List) == 0 {
		s.problem(functionOf, fmt.Sprintf("task %q returns no error, so Machinery refuses it", name))
		return
	}
	results := []ast.Expr{}
	for _, field := range f.kind.Results.List {
		for range max(1, len(field.Names)) {
			results = append(results, field.Type)
		}
	}
	for i, kind := range results {
		if i == len(results)-1 {
			if last, ok := kind.(*ast.Ident); !ok || last.Name != "error" {
				s.problem(functionOf, fmt.Sprintf("the last result of task %q is not an error, so Machinery refuses it", name))
				return
			}
			break
		}
		text, ok := s.kind(f, kind)
		if !ok {
			s.problem(functionOf, fmt.Sprintf("task %q has a result of a type that Machinery cannot carry, so the task is left out", name))
			return
		}
		found.Results = append(found.Results, result{text})
	}
	if earlier, ok := s.tasks[name]; ok && fmt.Sprint(earlier.Arguments, earlier.Results) != fmt.Sprint(found.Arguments, found.Results) {
		s.problem(nameOf, fmt.Sprintf("task %q is registered twice with other types; the first, at %s, counts", name, earlier.Source))
		return
	} else if ok {
		return
	}
	s.tasks[name] = found
}

// text returns the value of a constant string.
func (s *scanner) text(p *pack, file *ast.File, locals map[string]ast.Expr, e ast.Expr) (string, bool) {
	switch v := e.(type) {
	case *ast.BasicLit:
		if v.Kind == token.STRING {
			text, err := strconv.Unquote(v.Value)
			return text, err == nil
		}
	case *ast.ParenExpr:
		return s.text(p, file, locals, v.X)
	case *ast.BinaryExpr:
		left, one := s.text(p, file, locals, v.X)
		right, two := s.text(p, file, locals, v.Y)
		return left + right, one && two && v.Op == token.ADD
	case *ast.Ident:
		if value, ok := locals[v.Name]; ok && value != e {
			return s.text(p, file, nil, value)
		}
		if value, ok := p.values[v.Name]; ok {
			return s.text(p, file, nil, value)
		}
	case *ast.SelectorExpr:
		if other := s.imported(file, v.X); other != nil {
			if value, ok := other.values[v.Sel.Name]; ok {
				return s.text(other, file, nil, value)
			}
		}
	}
	return "", false
}

func (s *scanner) function(p *pack, file *ast.File, locals map[string]ast.Expr, e ast.Expr) *function {
	switch v := e.(type) {
	case *ast.FuncLit:
		return &function{v.Type, file, p}
	case *ast.ParenExpr:
		return s.function(p, file, locals, v.X)
	case *ast.Ident:
		if found, ok := p.funcs[v.Name]; ok {
			return found
		}
		if value, ok := locals[v.Name]; ok && value != e {
			return s.function(p, file, nil, value)
		}
		if value, ok := p.values[v.Name]; ok {
			return s.function(p, file, nil, value)
		}
	case *ast.SelectorExpr:
		if other := s.imported(file, v.X); other != nil {
			return other.funcs[v.Sel.Name]
		}
		// A method value: the type of its receiver is not known here, so no other method may have its name.
		found := []*function{}
		for _, folder := range sorted(s.packs) {
			found = append(found, s.packs[folder].methods[v.Sel.Name]...)
		}
		if len(found) == 1 {
			return found[0]
		}
	}
	return nil
}

// imported returns the package of this code that an identifier names; nil if it names something else.
func (s *scanner) imported(file *ast.File, e ast.Expr) *pack {
	name, ok := e.(*ast.Ident)
	if !ok {
		return nil
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		for _, folder := range sorted(s.packs) {
			p := s.packs[folder]
			if p.path != imported && !(p.path != "" && strings.HasSuffix(imported, "/"+p.path)) {
				continue
			}
			called := p.files[0].Name.Name
			if spec.Name != nil {
				called = spec.Name.Name
			}
			if called == name.Name {
				return p
			}
		}
	}
	return nil
}

func (s *scanner) isContext(e ast.Expr) bool {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != "Context" {
		return false
	}
	name, ok := selector.X.(*ast.Ident)
	return ok && name.Name == "context"
}

var basic = map[string]string{
	"bool": "bool", "string": "string", "float32": "float32", "float64": "float64", "byte": "uint8", "rune": "int32",
	"int": "int", "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
	"uint": "uint", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}

// kind returns Machinery's name for a type. A type that the program defines has none, unless it is an alias.
func (s *scanner) kind(f *function, e ast.Expr) (string, bool) {
	switch v := e.(type) {
	case *ast.ParenExpr:
		return s.kind(f, v.X)
	case *ast.Ident:
		if spec, ok := f.in.types[v.Name]; ok {
			if !spec.Assign.IsValid() {
				return "", false
			}
			return s.kind(f, spec.Type)
		}
		name, ok := basic[v.Name]
		return name, ok
	case *ast.ArrayType:
		if v.Len != nil {
			return "", false
		}
		element, ok := s.kind(f, v.Elt)
		if !ok || strings.HasPrefix(element, "[]") {
			return "", false
		}
		if element == "uint8" {
			return "[]byte", true
		}
		return "[]" + element, true
	case *ast.SelectorExpr:
		if other := s.imported(f.file, v.X); other != nil {
			if spec, ok := other.types[v.Sel.Name]; ok && spec.Assign.IsValid() {
				return s.kind(&function{f.kind, f.file, other}, spec.Type)
			}
		}
	}
	return "", false
}
