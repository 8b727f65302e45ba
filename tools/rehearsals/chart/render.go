// Renders the templates of a Helm chart with its own values, as `helm template` does: the same template engine
// (text/template) and the same functions (sprig), without a cluster. Built with Debian's packages, see
// tools/rehearsals/chart.py.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	yaml "gopkg.in/yaml.v3"
)

func read(path string) map[string]interface{} {
	content, err := os.ReadFile(path)
	fail(err)
	values := map[string]interface{}{}
	fail(yaml.Unmarshal(content, &values))
	return values
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func merge(into, from map[string]interface{}) {
	for key, value := range from {
		old, isMap := into[key].(map[string]interface{})
		if new, both := value.(map[string]interface{}); isMap && both {
			merge(old, new)
		} else {
			into[key] = value
		}
	}
}

func toYaml(value interface{}) (string, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// render CHART [VALUES…]: prints all manifests; later values replace earlier ones.
func main() {
	chart := os.Args[1]
	about := read(filepath.Join(chart, "Chart.yaml"))
	values := read(filepath.Join(chart, "values.yaml"))
	for _, path := range os.Args[2:] {
		merge(values, read(path))
	}
	data := map[string]interface{}{
		"Values":  values,
		"Chart":   map[string]interface{}{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release": map[string]interface{}{"Name": "vigie", "Namespace": "vigie", "Service": "Helm"},
	}
	// An absent value is an error here; Helm would print nothing.
	all := template.New("chart").Option("missingkey=error").Funcs(sprig.TxtFuncMap())
	all.Funcs(template.FuncMap{
		"toYaml": toYaml,
		"include": func(name string, given interface{}) (string, error) {
			var out bytes.Buffer
			err := all.ExecuteTemplate(&out, name, given)
			return out.String(), err
		},
	})
	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	fail(err)
	sort.Strings(paths)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		fail(err)
		_, err = all.New(filepath.Base(path)).Parse(string(content))
		fail(err)
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		var out bytes.Buffer
		fail(all.ExecuteTemplate(&out, filepath.Base(path), data))
		if text := strings.TrimSpace(out.String()); text != "" {
			fmt.Printf("---\n# %s\n%s\n", filepath.Base(path), text)
		}
	}
}
